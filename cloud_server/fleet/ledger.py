"""Streams and gaps inside a transaction: how far each has come, and what it will never bring."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from cloud_server.fleet.arrival import Arrival, Stream
from cloud_server.fleet.database import Insert
from cloud_server.fleet.progress import Progress, Range, without
from cloud_server.fleet.tables import gaps, streams

_AHEAD = msgspec.json.Decoder(tuple[Range, ...])
_KEY = (streams.c.site, streams.c.node, streams.c.stream)
_FORWARD = (
    update(streams)
    .where(*(column == bindparam(f"of_{column.name}") for column in _KEY))
    .values(upto=bindparam("now_upto"), ahead=bindparam("now_ahead"))
)


class Step(NamedTuple):
    """What some arrivals did to one stream."""

    stream: Stream
    before: Progress
    after: Progress
    missing: list[Range]
    late: list[int]
    """Numbers that had been counted already: sent again, or given up too early."""


def key(stream: Stream) -> dict[str, Any]:
    """Its columns."""
    return {"site": stream.site, "node": stream.node, "stream": stream.number}


def lock(connection: Connection, insert: Insert, wanted: Sequence[Stream]) -> dict[Stream, Progress]:
    """Where each stream stands, its row locked until the transaction ends; a new one has its row now."""
    found = dict(_locked(connection, wanted))
    if new := [stream for stream in wanted if stream not in found]:
        rows = [{**key(stream), "upto": -1, "ahead": "[]"} for stream in new]
        connection.execute(insert(streams).on_conflict_do_nothing(), rows)
        found.update(_locked(connection, new))
    return found


def steps(before: Mapping[Stream, Progress], arrivals: Iterable[Arrival]) -> Iterator[Step]:
    """What the arrivals do to their streams."""
    grouped = defaultdict(list)
    for arrival in arrivals:
        grouped[arrival.stream].append(arrival)
    for stream, group in grouped.items():
        old = before[stream]
        new, missing = old.advance((it.seq for it in group), max(it.floor for it in group))
        yield Step(stream, old, new, missing, [it.seq for it in group if it.seq <= old.upto])


def record(connection: Connection, insert: Insert, taken: Sequence[Step], now: float) -> bool:
    """Write the steps down; whether a gap came or went."""
    if moved := [step for step in taken if step.after != step.before]:
        connection.execute(_FORWARD, [_forward(step) for step in moved])
    new = [_gap(step.stream, it, now) for step in taken for it in step.missing]
    healed = [it for step in taken if step.late for it in _heal(connection, step)]
    if new or healed:
        connection.execute(insert(gaps).on_conflict_do_nothing(), [*new, *healed])
    return bool(new or healed)


def committed(connection: Connection, wanted: Sequence[Stream]) -> list[tuple[Stream, int]]:
    """How far each stream has come, in order."""
    query = select(*_KEY, streams.c.upto).where(tuple_(*_KEY).in_(wanted)).order_by(*_KEY)
    return [(Stream(site, node, number), upto) for site, node, number, upto in connection.execute(query)]


def _locked(connection: Connection, wanted: Sequence[Stream]) -> Iterator[tuple[Stream, Progress]]:
    """In one order for everybody, else two sinks would wait for each other."""
    query = select(*_KEY, streams.c.upto, streams.c.ahead).where(tuple_(*_KEY).in_(wanted))
    for *stream, upto, ahead in connection.execute(query.order_by(*_KEY).with_for_update()):
        yield Stream(*stream), Progress(upto, _AHEAD.decode(ahead))


def _forward(step: Step) -> dict[str, Any]:
    return {
        **{f"of_{name}": value for name, value in key(step.stream).items()},
        "now_upto": step.after.upto,
        "now_ahead": msgspec.json.encode(step.after.ahead).decode(),
    }


def _gap(stream: Stream, gap: Range, since: float) -> dict[str, Any]:
    return {**key(stream), "first": gap[0], "last": gap[1], "known_since": since}


def _heal(connection: Connection, step: Step) -> Iterator[dict[str, Any]]:
    """Take the gaps with late numbers out; what is left of them."""
    same = [gaps.c[name] == value for name, value in key(step.stream).items()]
    touched = [*same, gaps.c.first <= max(step.late), gaps.c.last >= min(step.late)]
    for gap in connection.execute(select(gaps).where(*touched)).all():
        left = list(without((gap.first, gap.last), step.late))
        if left != [(gap.first, gap.last)]:
            connection.execute(delete(gaps).where(*same, gaps.c.first == gap.first))
            yield from (_gap(step.stream, it, gap.known_since) for it in left)
