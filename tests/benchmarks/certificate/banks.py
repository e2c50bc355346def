"""The banks that the reports read, made from artifacts and images where the cache has them not."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.demo import wrist
from deploy.demo.photos import build, images
from deploy.demo.photos.build import Pair
from deploy.demo.wrist.data import held_out, windows
from protos import artifact
from tests.benchmarks.certificate import fashion
from tests.benchmarks.certificate.bank import Bank, ask, kept, logits
from tests.benchmarks.certificate.degrade import DEGRADATIONS

CLEAN = "clean"
CONDITIONS = (CLEAN, *DEGRADATIONS)
DRIFTED = 5_000
"""Fashion-MNIST: the last so many images of the pool are also seen degraded."""


def fashion_pair(cache: Path) -> Pair:
    """Artifacts in the cache, trained if need be: only then is torch needed."""
    pair = Pair(cache / "fashion" / "edge", cache / "fashion" / "cloud")
    if not pair.edge.exists():
        from tests.benchmarks.certificate.fashion_models import artifacts

        artifacts(cache)
    return pair


def fashion_bank(cache: Path, condition: str = CLEAN) -> Bank:
    """All 29,000 images of the pool; degraded, the last ``DRIFTED`` of them."""

    def make() -> Bank:
        pool = fashion.load().pool
        rows = slice(None) if condition == CLEAN else slice(-DRIFTED, None)
        encoded = _degraded([fashion.png(one) for one in pool.pixels[rows]], condition)
        return ask(fashion_pair(cache), encoded, pool.labels[rows])

    return kept(cache / "banks" / f"fashion-{_slug(condition)}.npz", make)


def photos_pair(cache: Path, folder: Path) -> Pair:
    """The demo's artifacts of these labelled photos, a fifth of which chose the int8 ranges."""
    split = images.split(folder)
    truth = images.read_labels(folder / "images.csv", [*split.tuning, *split.shown])
    return build.artifacts(cache, split.tuning, truth, print)


def photos_bank(cache: Path, folder: Path, condition: str = CLEAN) -> Bank:
    """All photos, in the order of their names."""

    def make() -> Bank:
        names = photo_files(folder)
        truth = images.read_labels(folder / "images.csv", names)
        encoded = _degraded([one.read_bytes() for one in names], condition)
        return ask(photos_pair(cache, folder), encoded, np.array([truth[one.name] for one in names]))

    return kept(cache / "banks" / f"photos-{_slug(condition)}.npz", make)


def photo_files(folder: Path) -> list[Path]:
    """The photos of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in images.SUFFIXES)


def unseen_photos(folder: Path) -> NDArray[np.int64]:
    """Rows of the bank whose photos neither ranges nor int8 variant were chosen on."""
    shown = set(images.split(folder).shown)
    return np.flatnonzero([photo in shown for photo in photo_files(folder)])


def _degraded(encoded: Sequence[bytes], condition: str) -> Sequence[bytes]:
    return encoded if condition == CLEAN else [DEGRADATIONS[condition](one) for one in encoded]


def _slug(condition: str) -> str:
    return condition.lower().replace(" ", "-")


def wrist_bank(subject: int) -> Bank:
    """All windows of a person whom neither model of the demo has seen; they travel as they are."""
    samples, labels = windows(held_out(subject))
    edge, cloud = (logits(wrist.HERE / name / artifact.MODEL, samples) for name in ("edge", "cloud"))
    return Bank(edge, cloud, labels, np.full(len(labels), samples[0].nbytes))
