"""From tensors as they came to the arrays a session takes: nothing else reaches a model."""

import numpy as np

from cloud_server.errors import BadInput
from protos import image
from protos.artifact import ImageInput, TensorSpec
from protos.codec import Tensor, datatype

MAX_IMAGES = 32
"""Encoded images in one call: a few kilobytes of PNG can unfold to a hundred megabytes."""


def accept(spec: TensorSpec, array: Tensor, images: ImageInput | None) -> Tensor:
    """The array to feed for ``spec``; ``BadInput`` says what came and what was expected."""
    if images and array.dtype.hasobject:
        array = _decode(spec, array, images)
    if datatype(array.dtype) != spec.datatype:
        raise BadInput(f"input {spec.name!r}: datatype {datatype(array.dtype)}, expected {spec.datatype}")
    if not spec.fits(array.shape):
        raise BadInput(f"input {spec.name!r}: shape {list(array.shape)}, expected {list(spec.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadInput(f"input {spec.name!r}: holds NaN or infinity")
    return _to_text(spec, array) if array.dtype.hasobject else array


def _decode(spec: TensorSpec, encoded: Tensor, images: ImageInput) -> Tensor:
    """BYTES (n,) of JPEG or PNG -> UINT8 (n, size, size, 3)."""
    if encoded.ndim != 1 or not 1 <= len(encoded) <= MAX_IMAGES:
        raise BadInput(
            f"input {spec.name!r}: BYTES of shape {list(encoded.shape)}, "
            f"expected [n], 1 to {MAX_IMAGES} images, JPEG or PNG"
        )
    return np.stack([image.decode(one, images) for one in encoded])


def _to_text(spec: TensorSpec, array: Tensor) -> Tensor:
    try:
        text: Tensor = np.vectorize(bytes.decode, otypes=[object])(array)
    except UnicodeDecodeError as error:
        raise BadInput(f"input {spec.name!r}: a BYTES element is not UTF-8 ({error.reason})") from None
    return text
