"""bfloat16, the upper half of a float32. numpy has no such number: here it is a field of two bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BF16 = np.dtype([("bfloat16", "<u2")])


def widened(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, of bfloat16 as float32; any other array as it is."""
    if array.dtype != BF16:
        return array
    return (array.view("<u2").astype("<u4") << 16).view("<f4")


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Numbers as bfloat16, rounded towards zero."""
    return (array.astype("<f4").view("<u4") >> 16).astype("<u2").view(BF16)
