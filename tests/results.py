"""Results that nobody computed."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from protos.result import Answer, Latency, Model, Reason, Result

CONFIDENT = Result(
    id="lab.a.1.0",
    site="lab",
    node="a",
    seq=0,
    sample="x.jpg",
    captured_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    route="edge",
    reason=Reason.CONFIDENT,
    label="red",
    class_index=0,
    confidence=0.9,
    edge=Answer(label="red", confidence=0.9),
    cloud=None,
    model=Model(name="m", version="1", precision="int8", sha256="0" * 64),
    latency_ms=Latency(edge=1.5, cloud=None, total=2.0),
)


def result(**changes: Any) -> Result:
    """What a confident edge says, with these changes."""
    return msgspec.structs.replace(CONFIDENT, **changes)


def numbered(count: int, first: int = 0, session: int = 1, node: str = "a", **changes: Any) -> list[Result]:
    """Results of one session, in order, from number ``first`` on."""
    return [
        result(id=f"lab.{node}.{session}.{seq}", node=node, seq=seq, **changes)
        for seq in range(first, first + count)
    ]
