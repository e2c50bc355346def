"""Who a node is, on this run."""

import time
from dataclasses import dataclass, field

from edge_node.config import Node


def new_session(after: int = 0) -> int:
    """A number for this run, greater than ``after``: microseconds since 1970, if the clock is any good."""
    return max(after + 1, time.time_ns() // 1000)


@dataclass(frozen=True, slots=True)
class Identity:
    """Site and name from the settings, and a number that ties a last will to its birth message."""

    node: Node
    session: int = field(default_factory=new_session)
    """Tells this run from every other: grows from one run to the next."""
    stream: int = 0
    """Which count the numbers of the results belong to: the session that began it."""

    def topic(self, root: str, leaf: str) -> str:
        """``root/site/name/leaf``."""
        return f"{root}/{self.node.site}/{self.node.name}/{leaf}"

    def result_id(self, sample: int) -> str:
        """The same on every delivery of what a sample of this session gets, and of nothing else."""
        return f"{self.node.site}.{self.node.name}.{self.session}.{sample}"
