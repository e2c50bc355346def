"""A result: what a node publishes of one sample, and the JSON Schema that both sides hold it to.

``python -m protos.result`` prints the schema; the copy in ``result.schema.json`` is for everyone
who reads results without Python.
"""

from datetime import datetime
from enum import StrEnum, auto
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protos.artifact import Digest, Precision

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Name of a site or a node: it becomes a level of an MQTT topic."""
Share = Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[float, Meta(ge=0)]


class Reason(StrEnum):
    """Why a result is what it is. All but the first two are degraded: the edge answers as best it can."""

    CONFIDENT = auto()
    """The edge was sure."""
    CLOUD = auto()
    """The edge was not; the cloud answered."""
    CLOUD_TIMEOUT = auto()
    """The cloud had not answered by the deadline, or was not expected to: then it was not asked."""
    CLOUD_UNREACHABLE = auto()
    """There was no connection to the cloud."""
    CLOUD_SATURATED = auto()
    """Too many calls were in flight, or the cloud pushed back."""
    CLOUD_ERROR = auto()
    """The cloud refused the call or sent something that is no answer."""
    CIRCUIT_OPEN = auto()
    """The cloud is not there, or failed too often lately: it was not asked."""
    BUDGET_EXHAUSTED = auto()
    """The offload budget had no room for it."""
    NO_GAIN = auto()
    """The cloud would not have known better, by what has been measured: it was not asked."""
    DEFERRED = auto()
    """Only of a provisional result: the cloud has been asked, a final result follows."""
    EDGE_ONLY = auto()
    """The edge was not sure, and no cloud is configured."""
    INVALID_SAMPLE = auto()
    """The sample could not be read: there is no answer, `error` says why."""


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Immutable, and an unknown field is an error."""


class Answer(Strict, frozen=True, kw_only=True):
    """What one of the two models said."""

    label: str
    confidence: Share


class Latency(Strict, frozen=True, kw_only=True):
    """Milliseconds by the monotonic clock of the node."""

    edge: Milliseconds
    """Preprocessing, edge model and gate."""
    cloud: Milliseconds | None
    """From sending to the answer or the failure; null if nothing was sent."""
    total: Milliseconds
    """From capture to this result."""


class Model(Strict, frozen=True, kw_only=True):
    """The edge model of the node."""

    name: str
    version: str
    precision: Precision
    sha256: Digest


class Result(Strict, frozen=True, kw_only=True):
    """One sample's one result."""

    schema: Literal["tidegate.result/1"] = "tidegate.result/1"
    id: str
    """The same on every delivery, provisional or final: deduplicate by it and the state."""
    site: Id
    node: Id
    seq: Annotated[int, Meta(ge=0)]
    """Counts what a node publishes, without a gap and across restarts: the order of publication."""
    stream: Annotated[int, Meta(ge=0)] = 0
    """Which count that is: a node that lost its outbox begins another one."""
    sample: str
    """The source's name of the sample: a file, an index, a line."""
    captured_at: Annotated[datetime, Meta(tz=True)]
    state: Literal["provisional", "final"] = "final"
    """Of each sample there is one final result; a provisional one may precede it."""
    route: Literal["edge", "cloud"]
    reason: Reason
    label: str | None
    class_index: Annotated[int, Meta(ge=0)] | None
    confidence: Share | None
    edge: Answer | None
    cloud: Answer | None
    model: Model
    latency_ms: Latency
    replayed: bool = False
    """It was not sent when it was made, or it is sent once more."""
    error: str | None = None
    """One line, where there is something to say: what is wrong with the sample, what the cloud answered."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Result)


def encode(result: Result) -> bytes:
    """UTF-8 JSON on one line."""
    return _ENCODER.encode(result)


def decode(payload: bytes) -> Result:
    """The result in a payload; ``msgspec.ValidationError`` or ``msgspec.DecodeError`` if it is none."""
    return _DECODER.decode(payload)


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of a result."""
    body = msgspec.json.schema(Result)
    for definition in body["$defs"].values():  # a default is sent all the same
        if "properties" in definition:
            definition["required"] = list(definition["properties"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "tidegate.result/1", **body}


if __name__ == "__main__":
    print(msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode())  # noqa: T201
