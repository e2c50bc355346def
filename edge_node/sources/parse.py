"""What a sensor gives -> the data of a sample, or the error that takes its place."""

from pathlib import Path

import msgspec
import numpy as np

from edge_node.errors import SampleError
from protos.codec import Tensor


def json_array(text: bytes | msgspec.Raw) -> Tensor | SampleError:
    """A (nested) JSON array of numbers as an array; the error if it is none."""
    try:
        numbers = np.asarray(msgspec.json.decode(text))
    except msgspec.DecodeError as error:
        return SampleError(f"not JSON: {error}")
    except ValueError:
        return SampleError("a ragged array: its rows differ in length")
    if numbers.dtype.kind not in "iufb":
        return SampleError("not an array of numbers")
    return numbers


def read_file(path: Path) -> bytes | SampleError:
    """The bytes of a file; the error if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        return SampleError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}")
