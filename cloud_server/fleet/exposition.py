"""The text that Prometheus reads, of devices: made once a snapshot, and only put together at a scrape."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from protos.snapshot import Counter, Family, Gauge, Histogram, Spread

_KINDS = {Counter: b"counter", Gauge: b"gauge", Histogram: b"histogram"}
_HELP = b"As the nodes report it."
_UP = b"tidegate_node_up"
_SEEN = b"tidegate_node_last_seen_timestamp_seconds"
_OURS = {
    _UP: b"1 while the node is online and not silent, by birth, last will and snapshots.",
    _SEEN: b"When something last came from the node, by the clock of this server.",
}
"""Families that the bridge speaks in; a node cannot."""
_HEAD = b"# HELP "


class Block(NamedTuple):
    """Lines of one family, of one device."""

    name: bytes
    kind: bytes
    lines: bytes


def block(site: str, node: str, family: Family) -> Block:
    """A family of a device, under its site and node."""
    name, owner = family.name, f'site="{site}",node="{node}"'
    lines: list[str] = []
    bounds = family.bounds if isinstance(family, Histogram) else ()
    for series in family.series:
        labels = owner + "".join(
            f',{label}="{_escaped(text)}"' for label, text in zip(family.labels, series.labels, strict=True)
        )
        if isinstance(series, Spread):
            lines += _spread(name, labels, series, bounds)
        else:
            lines.append(f"{name}{{{labels}}} {series.value}\n")
    return Block(name.encode(), _KINDS[type(family)], "".join(lines).encode())


def liveness(site: str, node: str, *, up: bool, seen: float) -> Iterator[Block]:
    """Whether a device is there; ``seen`` in seconds since 1970."""
    labels = f'{{site="{site}",node="{node}"}}'.encode()
    yield Block(_UP, b"gauge", b"%b%b %d\n" % (_UP, labels, up))
    yield Block(_SEEN, b"gauge", b"%b%b %.3f\n" % (_SEEN, labels, seen))


def merge(own: bytes, blocks: Iterable[Block]) -> bytes:
    """An exposition of ours, and every line of the blocks in the one family that it belongs to.

    A name stands for one kind: ours, else that of most devices. The others' lines are left out.
    """
    found: dict[bytes, dict[bytes, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    for name, kind, lines in blocks:
        found[name][kind].append(lines)
    parts: list[bytes] = []
    for chunk in own.split(_HEAD)[1:]:
        name, kind = _declared(chunk)
        parts += [_HEAD, chunk, *found.pop(name, {}).get(kind, ())]
    for name, kinds in found.items():
        kind, texts = max(kinds.items(), key=lambda it: len(it[1]))
        parts += [b"# HELP %b %b\n# TYPE %b %b\n" % (name, _OURS.get(name, _HELP), name, kind), *texts]
    return b"".join(parts)


def _declared(chunk: bytes) -> tuple[bytes, bytes]:
    """Name and kind of a family, of its text after ``# HELP``."""
    _help, declaration, _ = chunk.split(b"\n", 2)
    _, _, name, kind = declaration.split(b" ")
    return name, kind


def _spread(name: str, labels: str, spread: Spread, bounds: Iterable[float]) -> Iterator[str]:
    *below, total = accumulate(spread.counts)
    for bound, count in zip(bounds, below, strict=True):
        yield f'{name}_bucket{{{labels},le="{bound}"}} {count}\n'
    yield f'{name}_bucket{{{labels},le="+Inf"}} {total}\n'
    yield f"{name}_sum{{{labels}}} {spread.sum}\n"
    yield f"{name}_count{{{labels}}} {total}\n"


def _escaped(text: str) -> str:
    """A label's value; control characters it has none."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
