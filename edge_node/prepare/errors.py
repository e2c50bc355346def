"""What a workstation command tells its user when it cannot go on: one line, nothing half-written."""

from edge_node.errors import NodeError


class PrepareError(NodeError):
    """A model, data or an option that cannot be used: says which, why, and what to do."""


class GraphError(PrepareError):
    """A model that cannot be quantised."""


class DataError(PrepareError):
    """Samples or labels that cannot be used."""


class Interrupted(PrepareError):
    """The user pressed Ctrl-C."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted; nothing was written")


class NotCertified(PrepareError):
    """The data do not carry the promise: says why, and what they would carry."""

    exit_code = 5
