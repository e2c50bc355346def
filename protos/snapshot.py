"""A snapshot: every metric of a node at one moment, small enough to send every few seconds.

Compressed JSON, each number under the names of the node's own ``/metrics``; about 1.8 KB. A device
may send anything: what is decoded here has names, labels and values by a grammar, and is bounded.
"""

import zlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

LARGEST = 65_536
"""Bytes of a payload."""
INFLATED = 524_288
"""Bytes of the JSON in it."""

Total = Annotated[str, Meta(pattern=r"^(tidegate_(?!node_)|process_)[a-z0-9_]{1,64}_total\Z")]
"""Without our prefix a device could speak for ``up``, with ``tidegate_node_`` for the bridge."""
Plain = Annotated[
    str,
    Meta(
        pattern=r"^(tidegate_(?!node_)|process_)[a-z0-9_]{1,64}\Z(?<!_total)(?<!_bucket)(?<!_count)(?<!_sum)"
    ),
]
"""No name of one kind is taken for a line of another."""
Label = Annotated[str, Meta(pattern=r"^(?!(site|node|job|instance|le|quantile)\Z|__)[a-z_][a-z0-9_]{0,31}\Z")]
"""``site`` and ``node`` are the bridge's to say, ``job`` and ``instance`` Prometheus'."""
Text = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{0,128}\Z")]
Labels = Annotated[tuple[Label, ...], Meta(max_length=8)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=8)]
Amount = Annotated[float, Meta(ge=0, le=2**63)]
Reading = float | Literal["NaN", "+Inf", "-Inf"]
"""JSON has no numbers for the three."""
Bound = Annotated[float, Meta(ge=-1e18, le=1e18)]


class _Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A JSON array."""


class Amounts(_Row, frozen=True):
    """One series of a counter."""

    labels: Texts
    """Values, in the order of the family's names."""
    value: Amount


class Readings(_Row, frozen=True):
    """One series of a gauge."""

    labels: Texts
    value: Reading


class Spread(_Row, frozen=True):
    """One series of a histogram."""

    labels: Texts
    counts: Annotated[tuple[Amount, ...], Meta(max_length=65)]
    """By bucket, not added up; the last one is of what lies above every bound."""
    sum: Amount


class Counter(_Row, frozen=True, tag="counter"):
    """A number that only grows within a session."""

    name: Total
    labels: Labels
    series: tuple[Amounts, ...]

    def __post_init__(self) -> None:
        _require_distinct(self)


class Gauge(_Row, frozen=True, tag="gauge"):
    """A number that goes up and down; also what a model or build is called."""

    name: Plain
    labels: Labels
    series: tuple[Readings, ...]

    def __post_init__(self) -> None:
        _require_distinct(self)


class Histogram(_Row, frozen=True, tag="histogram"):
    """How often a number fell into which bucket."""

    name: Plain
    labels: Labels
    series: tuple[Spread, ...]
    bounds: Annotated[tuple[Bound, ...], Meta(max_length=64)]
    """Upper bounds of all buckets but the last, which has none."""

    def __post_init__(self) -> None:
        _require_distinct(self)
        if list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError(f"{self.name}: its bounds do not rise")
        if any(len(spread.counts) != len(self.bounds) + 1 for spread in self.series):
            raise ValueError(f"{self.name}: its counts do not fit its bounds")


Family = Counter | Gauge | Histogram


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a node publishes on ``metrics``. A field that is not known here is from a newer node."""

    schema: Literal["tidegate.metrics/1"] = "tidegate.metrics/1"
    session: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    """As in its birth message: when it changes, everything counts from zero again."""
    sequence: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    """Grows from snapshot to snapshot of a session."""
    uptime: Annotated[float, Meta(ge=0, le=1e10)]
    """Seconds since the counts began."""
    interval: Annotated[float, Meta(gt=0, le=3600)]
    """Seconds until the next one."""
    families: Annotated[tuple[Family, ...], Meta(max_length=256)]

    def __post_init__(self) -> None:
        if len({family.name for family in self.families}) != len(self.families):
            raise ValueError("a family comes twice")


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    """JSON, UTF-8, compressed by zlib to less than a third."""
    return zlib.compress(_ENCODER.encode(snapshot))


def decode(payload: bytes) -> Snapshot:
    """The snapshot in a payload; ``ValueError`` if it is none, or too large."""
    if len(payload) > LARGEST:
        raise ValueError(f"{len(payload)} bytes")
    return _DECODER.decode(_inflate(payload))


def lines(family: Family) -> int:
    """How many lines of ``/metrics`` it makes, which is how many series Prometheus sees in it."""
    if isinstance(family, Histogram):
        return len(family.series) * (len(family.bounds) + 3)
    return len(family.series)


def _inflate(payload: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(payload, INFLATED)
    except zlib.error as error:
        raise ValueError(f"not compressed by zlib: {error}") from None
    if not inflater.eof:
        raise ValueError(f"cut short, or more than {INFLATED} bytes")
    return text


def _require_distinct(family: Family) -> None:
    """Every series has a value for each label, and no other has the same ones."""
    if len(set(family.labels)) != len(family.labels):
        raise ValueError(f"{family.name}: a label comes twice")
    if any(len(series.labels) != len(family.labels) for series in family.series):
        raise ValueError(f"{family.name}: values do not fit its labels")
    if len({series.labels for series in family.series}) != len(family.series):
        raise ValueError(f"{family.name}: a series comes twice")
