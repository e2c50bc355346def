"""What a demo runs on: two models, and streams of samples of which the truth is known, or is not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stream:
    """What one device sees."""

    name: str
    """Becomes the name of the nodes that replay it."""
    source: Mapping[str, str]
    """Kind and path, as in a node's `[source]`."""
    samples: int
    truth: Mapping[str, int] | None
    """Class by the name of the sample; None where nobody knows."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Two models and the streams they are shown on."""

    name: str
    title: str
    edge: Path
    """Artifact for the device."""
    cloud: Path
    """Artifact for the server."""
    streams: tuple[Stream, ...]
    rate: float
    """Samples a second and device."""
    notes: tuple[str, ...] = ()
    """What the reader of the report should know of the data."""
    settings: Mapping[str, Mapping[str, str | float | bool]] = field(default_factory=dict)
    """Further settings of its nodes, by section."""

    @property
    def samples(self) -> int:
        """Samples of one pass over all streams."""
        return sum(stream.samples for stream in self.streams)

    @property
    def seconds(self) -> float:
        """How long one pass takes at least."""
        return max(stream.samples for stream in self.streams) / self.rate

    @property
    def labelled(self) -> bool:
        """Whether the truth is known."""
        return all(stream.truth is not None for stream in self.streams)
