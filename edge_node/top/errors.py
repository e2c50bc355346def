"""What `top` cannot show, and why."""

from edge_node.errors import NodeError


class NotShown(NodeError):
    """The node's metrics cannot be read; ``problem`` is a few words."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url}: {problem}; is the node running? `edge-node top URL` looks elsewhere")
        self.problem = problem
