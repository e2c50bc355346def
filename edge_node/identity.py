"""Who a node is, on this run."""

import time
from dataclasses import dataclass, field

from edge_node.config import Node


def _session() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """Site and name from the settings, and a number that ties a last will to its birth message."""

    node: Node
    session: int = field(default_factory=_session)
    """Milliseconds since 1970 at start: grows from one run to the next."""

    def topic(self, root: str, leaf: str) -> str:
        """``root/site/name/leaf``."""
        return f"{root}/{self.node.site}/{self.node.name}/{leaf}"

    def result_id(self, seq: int) -> str:
        """The same on every delivery of a result, and of no other."""
        return f"{self.node.site}.{self.node.name}.{self.session}.{seq}"
