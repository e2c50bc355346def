"""Encoded images that mean harm, and the sound ones that they are made of."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from hypothesis import strategies as st
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Of a PNG, with the checksum that it should have."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, data: bytes, *more: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """One that says so, and holds ``data``."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", head), *more, chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@cache
def zeros(size: int) -> bytes:
    """A thousandth of the size."""
    return zlib.compress(bytes(size), 9)


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    """The same picture, sound."""
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def sound() -> tuple[bytes, ...]:
    """Every kind that Pillow writes and we take, and some that we do not."""
    return (
        *(saved("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
        saved("PNG", "P", transparency=bytes(range(256))),
        *(saved("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        saved("JPEG", progressive=True),
        *(saved(kind) for kind in ("GIF", "BMP", "TIFF", "PPM")),
    )


@cache
def bombs() -> tuple[bytes, ...]:
    """Small, and large once they are unfolded."""
    jpeg = saved("JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    return (
        png(2**31 - 1, 2**31 - 1, zeros(1000)),
        png(30_000, 30_000, zeros(1 << 20), depth=1, colour=0),
        png(8000, 8000, zeros(8000 * 24001)),
        png(16, 16, zeros(1 << 28)),
        png(0, 0, b""),
        png(16, 16, zeros(800), chunk(b"zTXt", b"k\0\0" + zeros(1 << 28))),
        png(16, 16, zeros(800), chunk(b"iCCP", b"k\0\0" + zeros(1 << 28))),
        png(16, 16, zeros(800), chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        png(16, 16, zeros(800), *[chunk(b"tEXt", b"k\0" + bytes(100))] * 2000),
        jpeg[:at] + b"\xff\xff\xff\xff" + jpeg[at + 4 :],
        jpeg[:at] + b"\x13\x88\x27\x10" + jpeg[at + 4 :],
    )


@cache
def large() -> tuple[bytes, ...]:
    """As large as an image may be: seconds of work, and no bomb."""
    return (png(7000, 7000, zeros(7000 * 876), depth=1, colour=0), png(5000, 5000, zeros(5000 * 15001)))


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Cut, or with bytes changed, or doubled."""
    return st.builds(
        _damage,
        st.just(content),
        st.integers(0, len(content)),
        st.lists(st.tuples(st.integers(0, max(0, len(content) - 1)), st.integers(0, 255)), max_size=8),
        st.booleans(),
    )


def _damage(content: bytes, end: int, changes: list[tuple[int, int]], cut: bool) -> bytes:  # noqa: FBT001
    changed = bytearray(content)
    for at, value in changes:
        if at < len(changed):
            changed[at] = value
    return bytes(changed[:end]) if cut else bytes(changed)


images = st.one_of(
    st.sampled_from(sound()).flatmap(damaged), st.sampled_from(bombs()), st.binary(max_size=40)
)
