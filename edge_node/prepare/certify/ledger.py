"""Which samples a pair of models was certified with: a second look at them would not be honest.

A file beside the edge artifact, ``EDGE-CLOUD.certified.jsonl`` by the first digits of the models' SHA-256,
a line a look. It also keeps looks that ended without a certificate: they were looks.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from edge_node.prepare.certify.observe import Pair, Prints
from edge_node.prepare.certify.question import Question
from edge_node.prepare.errors import DataError, PrepareError
from protos.artifact import Digest, Part

SUFFIX = ".certified.jsonl"
OVERLAP = 0.01
"""Share of CERT that may have been seen: a few samples occur twice in any data."""


class Look(Part, frozen=True, kw_only=True):
    """One use of a CERT split."""

    at: datetime
    edge: Digest
    cloud: Digest
    question: Question
    verdict: str
    prints: str
    """Fingerprints of the payloads, sorted, 8 bytes each, base64."""

    def seen(self, prints: Prints) -> float:
        """Share of these samples that were used."""
        return float(np.isin(prints, np.frombuffer(base64.b64decode(self.prints), "<u8")).mean())


@dataclass(frozen=True)
class Ledger:
    """The looks at one pair of models, kept in each of these folders."""

    edge: str
    cloud: str
    folders: tuple[Path, ...]

    @classmethod
    def of(cls, pair: Pair, *directories: Path) -> "Ledger":
        """Beside each of these artifacts."""
        parents = dict.fromkeys(directory.resolve().parent for directory in directories)
        return cls(pair.edge.sha256, pair.cloud.sha256, tuple(parents))

    def check(self, question: Question, prints: Prints) -> None:
        """``DataError`` if samples were used before; the very same question is answered again."""
        packed = _packed(prints)
        for look in self.looks():
            again = (look.question, look.prints) == (question, packed)
            if not again and (share := look.seen(prints)) > OVERLAP:
                raise DataError(
                    f"{share:.0%} of the CERT samples were used on {look.at:%Y-%m-%d} for epsilon "
                    f"{look.question.epsilon:g}: looking twice breaks the promise; give fresh samples, or "
                    "ask for all epsilons at once with --also"
                )

    def looks(self) -> Iterator[Look]:
        """All that were kept."""
        for path in filter(Path.exists, self.paths):
            yield from _read(path)

    def other_pairs(self, prints: Prints) -> int:
        """Pairs of other models that were judged by these samples, as far as these folders know."""
        own = {path.name for path in self.paths}
        found = {path.name: path for folder in self.folders for path in folder.glob(f"*{SUFFIX}")}
        others = (path for name, path in found.items() if name not in own)
        return sum(any(look.seen(prints) > OVERLAP for look in _read(path)) for path in others)

    def add(self, question: Question, prints: Prints, verdict: str) -> None:
        """Keep a look."""
        look = Look(
            at=datetime.now(UTC),
            edge=self.edge,
            cloud=self.cloud,
            question=question,
            verdict=verdict,
            prints=_packed(prints),
        )
        for path in self.paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(msgspec.json.encode(look) + b"\n")

    @property
    def paths(self) -> tuple[Path, ...]:
        """One a folder."""
        name = f"{self.edge[:12]}-{self.cloud[:12]}{SUFFIX}"
        return tuple(folder / name for folder in self.folders)


def _read(path: Path) -> Iterator[Look]:
    try:
        yield from (msgspec.json.decode(line, type=Look) for line in path.read_bytes().splitlines())
    except msgspec.DecodeError as error:
        raise PrepareError(f"{path} is no log of certificates any more: {error}") from error


def _packed(prints: Prints) -> str:
    return base64.b64encode(np.sort(prints).astype("<u8").tobytes()).decode()
