"""Fashion-MNIST as a camera would give it: PNG files, and who may see which of them."""

import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.artifact import ImageInput

FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts it."""
LABELS = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
PREPROCESSING = ImageInput(size=28)
TRAINING, RANGES = 40_000, 1_000
"""Of the 60,000 training images: the first train both networks, the next choose the int8 variant."""


@dataclass(frozen=True)
class Images:
    """Pixels (n, 28, 28) uint8 and classes (n,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def take(self, rows: Any) -> "Images":
        return Images(self.pixels[rows], self.labels[rows])


@dataclass(frozen=True)
class Parts:
    """Disjoint images by who may see them."""

    training: Images
    ranges: Images
    pool: Images
    """29,000 that no training saw, shuffled: to be split into TUNE, CERT and TEST."""


def load() -> Parts:
    """All 70,000 images; ends the program if they are not installed."""
    train, test = _read("train"), _read("t10k")
    rest = train.take(slice(TRAINING + RANGES, None))
    pool = Images(np.concatenate([rest.pixels, test.pixels]), np.concatenate([rest.labels, test.labels]))
    return Parts(
        training=train.take(slice(TRAINING)),
        ranges=train.take(slice(TRAINING, TRAINING + RANGES)),
        pool=pool.take(np.random.default_rng(0).permutation(len(pool.labels))),
    )


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A grey image (28, 28) as it travels."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 28, 28) -> (n, 28, 28, 3): what both sides decode such a PNG to."""
    return np.repeat(pixels[..., np.newaxis], 3, axis=3)


def _read(part: str) -> Images:
    if not FOLDER.exists():
        raise SystemExit(f"no {FOLDER}: apt-get install dataset-fashion-mnist")
    pixels = gzip.decompress((FOLDER / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((FOLDER / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
    return Images(
        np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8).astype(np.int64),
    )
