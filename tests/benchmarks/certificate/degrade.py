"""What a dirty lens, a dark room or a poor camera do to an image: encoded in, encoded out."""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Picture: TypeAlias = "Image.Image"
Degradation: TypeAlias = Callable[[bytes], bytes]
QUALITY = 92
"""Of the photos' JPEG, before and after."""


def _blur(picture: Picture, side: int, _: np.random.Generator) -> Picture:
    return picture.filter(ImageFilter.GaussianBlur(0.7 + side / 166))


def _noise(picture: Picture, _: int, random: np.random.Generator) -> Picture:
    values = np.asarray(picture, np.float64)
    return _picture(values + random.normal(0, 40, values.shape))


def _low_light(picture: Picture, _: int, random: np.random.Generator) -> Picture:
    """A fifth of the light, few photons a pixel, turned up threefold by the camera."""
    photons = random.poisson(np.asarray(picture, np.float64) * 0.2 / 2)
    return _picture(photons * 2.0 * 3.0)


def _low_resolution(picture: Picture, side: int, _: np.random.Generator) -> Picture:
    small = picture.resize((round(side / 3.1),) * 2, Image.Resampling.BILINEAR)
    return small.resize(picture.size, Image.Resampling.BICUBIC)


def _jpeg(picture: Picture, _: int, __: np.random.Generator) -> Picture:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=10)
    return Image.open(buffer)


def _picture(values: NDArray[Any]) -> Picture:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _degradation(change: Callable[[Picture, int, np.random.Generator], Picture]) -> Degradation:
    """The same bytes give the same bytes; the format stays."""

    def degrade(encoded: bytes) -> bytes:
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(encoded)) as picture:
            kind = picture.format
            loaded = picture.copy()
        changed = change(loaded, min(loaded.size), np.random.default_rng(crc32(encoded)))
        changed.save(buffer, kind, **({"quality": QUALITY} if kind == "JPEG" else {"optimize": True}))
        return buffer.getvalue()

    return degrade


DEGRADATIONS: Mapping[str, Degradation] = MappingProxyType(
    {
        "blur": _degradation(_blur),
        "noise": _degradation(_noise),
        "low light": _degradation(_low_light),
        "low resolution": _degradation(_low_resolution),
        "JPEG 10": _degradation(_jpeg),
    }
)
