"""From tensors as they came to the arrays a session takes: nothing else reaches a model."""

import os
from collections.abc import Sequence
from threading import Semaphore

import numpy as np

from cloud_server.errors import BadInput
from protos import image
from protos.artifact import ImageInput, TensorSpec
from protos.bfloat16 import widened
from protos.codec import PlainHeader, Tensor

MOST_IMAGES, MOST_BYTES = 32, 64 << 20
"""Encoded images in one call, and what they may unfold to: a few kilobytes of PNG can be gigabytes."""
_DECODING = Semaphore(os.cpu_count() or 1)
"""Calls that unfold images at once: each may take half a gigabyte, and more would be no faster."""
_NAMED, _DIMENSIONS = 9, 99
"""Names and sizes that a refusal repeats."""


def expect(
    specs: Sequence[TensorSpec], images: ImageInput | None, headers: tuple[PlainHeader, ...]
) -> list[tuple[int, ...]]:
    """Shapes to feed, in the order of ``specs``, if such tensors may be fed.

    ``BadInput`` says what comes and what is expected. Asked before anything is unfolded: what does not fit
    costs next to nothing.
    """
    expected = {spec.name: spec for spec in specs}
    if len(headers) != len(specs) or {header.name for header in headers} != expected.keys():
        names = sorted(header.name for header in headers[:_NAMED])
        raise BadInput(f"inputs {names}, expected {list(expected)}")
    shapes = {header.name: _expect_one(expected[header.name], header, images) for header in headers}
    return [shapes[name] for name in expected]


def most_images(spec: ImageInput) -> int:
    """Encoded images that one call may bring to a model of this size."""
    return max(1, min(MOST_IMAGES, MOST_BYTES // (spec.size * spec.size * 3)))


def accept(spec: TensorSpec, array: Tensor, images: ImageInput | None) -> Tensor:
    """The array to feed, of a tensor that was expected; ``BadInput`` if it holds what none may."""
    if images and array.dtype.hasobject:
        return _decode(spec, array, images)
    numbers = widened(array)
    if numbers.dtype.kind == "f" and 0 in np.isfinite(numbers).tobytes():  # all() lets others in once more
        raise BadInput(f"input {spec.name!r}: holds NaN or infinity")
    return _to_text(spec, array) if array.dtype.hasobject else array


def _expect_one(spec: TensorSpec, header: PlainHeader, images: ImageInput | None) -> tuple[int, ...]:
    datatype, shape = header.datatype, header.shape[:_DIMENSIONS]
    if images and datatype == "BYTES":
        most = most_images(images)
        if len(shape) != 1 or not 1 <= shape[0] <= most:
            raise BadInput(
                f"input {spec.name!r}: BYTES of shape {list(shape)}, "
                f"expected [n], 1 to {most} images, JPEG or PNG"
            )
        datatype, shape = "UINT8", (*shape, images.size, images.size, 3)
    if datatype != spec.datatype:
        raise BadInput(f"input {spec.name!r}: datatype {datatype}, expected {spec.datatype}")
    if not spec.fits(shape):
        raise BadInput(f"input {spec.name!r}: shape {list(shape)}, expected {list(spec.shape)}")
    return shape


def _decode(spec: TensorSpec, encoded: Tensor, images: ImageInput) -> Tensor:
    """BYTES (n,) of JPEG or PNG -> UINT8 (n, size, size, 3)."""
    pixels = sum(map(image.pixels, encoded)) if len(encoded) > 1 else 0  # of one, decoding itself looks
    if pixels > image.MAX_PIXELS:
        raise BadInput(
            f"input {spec.name!r}: images of {pixels} pixels, one call may bring {image.MAX_PIXELS} together"
        )
    with _DECODING:
        return np.stack([image.decode(one, images) for one in encoded])


def _to_text(spec: TensorSpec, array: Tensor) -> Tensor:
    try:
        text: Tensor = np.vectorize(bytes.decode, otypes=[object])(array)
    except UnicodeDecodeError as error:
        raise BadInput(f"input {spec.name!r}: a BYTES element is not UTF-8 ({error.reason})") from None
    return text
