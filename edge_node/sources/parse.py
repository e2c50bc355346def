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
    except UnicodeDecodeError:
        return SampleError("not JSON: not UTF-8 text")
    except (ValueError, RecursionError):
        return SampleError("a ragged or too deeply nested array")
    if numbers.dtype.kind not in "iufb":
        return SampleError("not an array of numbers")
    return numbers


def read_file(path: Path) -> bytes | SampleError:
    """The bytes of a file; the error if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        return SampleError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}")
    except ValueError as error:  # a null byte, or half a surrogate pair
        return SampleError(f"no name of a file: {error}")
