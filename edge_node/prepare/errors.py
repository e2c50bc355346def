"""What a workstation command tells its user when it cannot go on: one line, nothing half-written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_node.errors import NodeError


class PrepareError(NodeError):
    """A model, data or an option that cannot be used: says which, why, and what to do."""


class GraphError(PrepareError):
    """A model that cannot be quantised."""


class DataError(PrepareError):
    """Samples or labels that cannot be used."""


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say in one line that ``target`` could not be written: a full disk, a missing right."""
    try:
        yield
    except OSError as error:
        raise PrepareError(f"{target} cannot be written: {(error.strerror or str(error)).lower()}") from error
