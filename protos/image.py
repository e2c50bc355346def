"""Encoded image -> model input, the same on the device, in the cloud and in calibration."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.artifact import ImageInput

MAX_PIXELS = 50_000_000
"""A larger image is refused before it is decoded: it is a mistake or a decompression bomb."""


class ImageError(ValueError):
    """Bytes that are not an image we can decode."""


class NoPillow(Exception):
    """The optional package that decodes images is not installed."""

    def __init__(self) -> None:
        super().__init__("a model of images needs Pillow: pip install 'tidegate[images]'")


def require_pillow() -> None:
    """``NoPillow`` if images cannot be decoded here: better at start than at the first image."""
    if find_spec("PIL") is None:
        raise NoPillow


def decode(encoded: bytes, spec: ImageInput) -> NDArray[np.uint8]:
    """JPEG or PNG -> uint8 (size, size, 3) RGB: centre crop, then bicubic resize."""
    from PIL import Image

    with _opened(encoded) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{image.width} x {image.height} pixels are too many")
        square = _centre(image.width, image.height, spec.crop)
        size = spec.size, spec.size
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC, box=square))


def pixels(encoded: bytes) -> int:
    """Of a JPEG or PNG, as it says before any of it is decoded."""
    with _opened(encoded) as image:
        return int(image.width * image.height)


def encode(pixels: NDArray[Any]) -> bytes:
    """uint8 (height, width, 3) RGB -> PNG, without loss."""
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageError(f"an image is uint8 (height, width, 3), not {pixels.dtype} {pixels.shape}")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@contextmanager
def _opened(encoded: bytes) -> Iterator[Any]:
    """A JPEG or PNG, not decoded yet; ``ImageError`` for whatever goes wrong inside."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
            yield image
    except UnidentifiedImageError:
        raise ImageError("neither a JPEG nor a PNG image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"image cannot be decoded: {error}") from error


def _centre(width: int, height: int, crop: float) -> tuple[float, float, float, float]:
    side = min(width, height) * crop
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side
