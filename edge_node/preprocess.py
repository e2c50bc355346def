"""Sample -> tensor, as the manifest says; and -> what travels to the cloud."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_node.errors import NodeError, SampleError
from edge_node.gate.certificate import Codec
from edge_node.sample import Sample
from protos import image
from protos.artifact import ImageInput, Manifest, TensorSpec
from protos.codec import DTYPES, Tensor

Preprocess = Callable[[Sample], Tensor]
"""Sample -> array in the dtype and shape of the model's input, without the batch; or ``SampleError``."""


def for_manifest(manifest: Manifest) -> Preprocess:
    """The preprocessing that the artifact was made with; ``NodeError`` if a package for it is missing."""
    how = manifest.preprocessing
    if isinstance(how, ImageInput):
        try:
            image.require_pillow()
        except image.NoPillow as error:
            raise NodeError(str(error)) from None
        return lambda sample: _image(sample, how)
    return lambda sample: _tensor(sample, manifest.signature.input)


def payload(sample: Sample, tensor: Tensor, manifest: Manifest) -> Tensor:
    """What the cloud gets, with its batch axis: the encoded image of an image model, else the tensor."""
    if not isinstance(manifest.preprocessing, ImageInput):
        return tensor[np.newaxis]
    boxed = np.empty(1, dtype=object)
    boxed[0] = _encoded(sample)
    return boxed


def codec_of(manifest: Manifest, *, encoded: bool) -> Codec:
    """In which form samples travel; ``encoded``: they came as JPEG or PNG, not as pixels."""
    if not isinstance(manifest.preprocessing, ImageInput):
        return "tensor"
    return "captured" if encoded else "png"


def payload_bytes(sample: Sample, tensor: Tensor, manifest: Manifest) -> int:
    """Size of what the cloud would get, in a message; of a sample that ``Preprocess`` has just taken."""
    if not isinstance(manifest.preprocessing, ImageInput):
        return tensor.nbytes
    return 4 + len(_encoded(sample))  # an element of BYTES begins with its length


def _tensor(sample: Sample, spec: TensorSpec) -> Tensor:
    dtype, shape = DTYPES[spec.datatype], spec.shape[1:]
    array = _array(sample.data, dtype, shape)
    if not spec.fits((1, *array.shape)):
        raise SampleError(f"shape {list(array.shape)}, the model takes {list(shape)}")
    tensor = _cast(array, dtype)
    if dtype.kind == "f" and not np.isfinite(tensor).all():
        raise SampleError("has NaN or infinite values")
    return tensor


def _cast(array: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """The array in the model's dtype, where that loses no more than precision."""
    whole = array.dtype.kind in "iub"
    if array.dtype.kind not in "iubf" or (dtype.kind in "iub" and not whole):
        raise SampleError(f"dtype {array.dtype}, the model takes {dtype}")
    with np.errstate(over="ignore"):  # an overflow becomes an infinity, which is refused later
        tensor = array.astype(dtype, copy=False)
    if dtype.kind in "iub" and tensor is not array and not np.array_equal(tensor, array):
        raise SampleError(f"a value does not fit in {dtype}")
    return tensor


def _array(data: Tensor | bytes | SampleError, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Tensor:
    if isinstance(data, SampleError):
        raise data
    if not isinstance(data, bytes):
        return np.asarray(data)
    if min(shape) < 0:
        raise SampleError("raw bytes cannot say the shape that this model leaves open; send JSON")
    wanted = int(np.prod(shape)) * dtype.itemsize
    if len(data) != wanted:
        raise SampleError(f"{len(data)} raw bytes, {dtype} {list(shape)} needs {wanted}")
    return np.frombuffer(data, dtype).reshape(shape)


class _Latest(threading.local):
    """What this thread encoded last: asked for again when its sample is counted, and when it is sent."""

    sample: Sample | None = None
    encoded = b""


_latest = _Latest()


def _encoded(sample: Sample) -> bytes:
    """The image as it was captured; pixels as PNG. ``ImageError`` if they are none."""
    if isinstance(sample.data, bytes):
        return sample.data
    if _latest.sample is not sample:
        _latest.encoded = image.encode(np.asarray(sample.data))
        _latest.sample = sample
    return _latest.encoded


def _image(sample: Sample, spec: ImageInput) -> Tensor:
    if isinstance(sample.data, SampleError):
        raise sample.data
    try:
        return image.decode(_encoded(sample), spec)
    except image.ImageError as error:
        raise SampleError(str(error)) from error
