"""One message of a node, read with suspicion: everything in it but its topic may be a lie."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from protos import result as contract
from protos.ack import Number
from protos.result import Id, Result

LARGEST = 65536
"""Bytes of a payload; a result takes about 1 KB. Of a refused one no more is kept."""
LONGEST = 500
"""Characters of an id and of a label; PostgreSQL takes no more than 2,700 bytes into an index."""


class Stream(NamedTuple):
    """Whose numbers: they are contiguous within one of these."""

    site: str
    node: str
    number: int


class Refused(Exception):
    """A message that is no result, by a reason of few."""

    def __init__(self, reason: str, problem: object) -> None:
        super().__init__(f"{reason}: {problem}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one message brings into the store: a result, or one that was refused but has a number."""

    stream: Stream
    seq: int
    floor: int
    """Nothing below it that has not come will still come."""
    row: dict[str, Any]
    """Columns of its table, without those of the stream and the number."""
    refused: Refused | None = None
    captured_at: float | None = None
    """Seconds since 1970 by the node's clock; none of a result that had to wait for the broker."""


class _Numbers(msgspec.Struct, frozen=True):
    """All that can be had of a result that is otherwise none."""

    seq: Number
    stream: Number = 0


class _Address(msgspec.Struct, frozen=True):
    site: Id
    node: Id


_NUMBERS = msgspec.json.Decoder(_Numbers)


def read(names: list[str], payload: bytes, floor: str | None = None) -> Arrival:
    """A message under ``{root}/{names}``. One that is refused, yet tells its number, is kept as it is.

    ``Refused`` of one that does not: its sender will not learn that it came.
    """
    address, lowest = _address(names), _floor(floor)
    try:
        return _accept(address, payload, lowest)
    except Refused as refusal:
        return _keep(address, payload, lowest, refusal)


def as_it_came(arrival: Arrival, payload: bytes, refusal: Refused) -> Arrival:
    """The same message, refused after all."""
    return replace(arrival, row=_raw(refusal, payload), refused=refusal, captured_at=None)


def _address(names: list[str]) -> _Address:
    try:
        return msgspec.convert(dict(zip(("site", "node"), names, strict=True)), _Address)
    except ValueError as error:
        raise Refused("topic", error) from None


def _floor(text: str | None) -> int:
    try:
        return msgspec.convert(text or "0", Number, strict=False)
    except ValueError as error:
        raise Refused("floor", f"{text!r}: {error}") from None


def _accept(address: _Address, payload: bytes, floor: int) -> Arrival:
    if len(payload) > LARGEST:
        raise Refused("oversize", f"{len(payload)} bytes")
    try:
        result, text = contract.decode(payload), payload.decode()
    except (ValueError, RecursionError) as error:
        raise Refused("malformed", error) from None
    if (result.site, result.node) != (address.site, address.node):
        raise Refused("identity", f"it says it is of {result.site}/{result.node}")
    captured_at = result.captured_at.timestamp()
    return _arrival(
        address,
        result.stream,
        result.seq,
        floor,
        row={**_columns(result), "captured_at": captured_at, "payload": text},
        captured_at=None if result.replayed else captured_at,
    )


def _keep(address: _Address, payload: bytes, floor: int, refusal: Refused) -> Arrival:
    try:
        numbers = _NUMBERS.decode(payload)
    except (ValueError, RecursionError):
        raise refusal from None
    row = _raw(refusal, payload)
    return _arrival(address, numbers.stream, numbers.seq, floor, row=row, refused=refusal)


def _arrival(address: _Address, stream: int, seq: int, floor: int, **rest: Any) -> Arrival:
    """A floor is never above the number of a message: that one is itself still to come."""
    if max(stream, seq) >= 2**63:
        raise Refused("range", "its number has more than 63 bits")
    return Arrival(Stream(address.site, address.node, stream), seq, min(floor, seq), **rest)


def _columns(result: Result) -> dict[str, Any]:
    return {
        "id": _plain(result.id),
        "state": result.state,
        "route": result.route,
        "reason": result.reason.value,
        "label": None if result.label is None else _plain(result.label),
        "confidence": result.confidence,
        "latency_ms": result.latency_ms.total,
    }


def _raw(refusal: Refused, payload: bytes) -> dict[str, Any]:
    return {"reason": refusal.reason, "payload": payload[:LARGEST]}


def _plain(text: str) -> str:
    """Text that every database takes; PostgreSQL has no NUL."""
    if len(text) > LONGEST or "\0" in text:
        raise Refused("text", f"{text[:LONGEST]!r} is too long, or has a NUL")
    return text
