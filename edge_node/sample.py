"""The first noun of the path: what a source gives."""

import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from edge_node.errors import SampleError
from protos.codec import Tensor


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to classify, as it was captured."""

    name: str
    """The source's name of it: a file, an index, a line."""
    data: Tensor | bytes | SampleError
    """An array; an encoded image or raw tensor; or why there is neither."""
    captured_at: datetime = field(default_factory=_now)
    """Wall time: a label, never a measure."""
    started: float = field(default_factory=time.monotonic)
    """Seconds of the monotonic clock at capture: what deadlines and latencies count from."""
    place: Hashable = None
    """Where it stands in a source that can be replayed: finished in the transaction of its result."""
