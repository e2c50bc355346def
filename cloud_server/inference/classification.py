"""The classification extension: an output as its best classes, a few bytes instead of all of it."""

from collections.abc import Sequence

import numpy as np

from cloud_server.errors import BadInput
from protos.bfloat16 import widened
from protos.codec import Tensor


def classify(array: Tensor, count: int, labels: Sequence[str] = ()) -> Tensor:
    """Numbers (n, ...) -> BYTES (n, count) of ``value:index[:label]``, the largest first; (n,) -> (count,).

    Fewer if there are fewer classes. NaN comes last, among equals the lower index first.
    """
    array = widened(array)
    if array.dtype.kind not in "iuf":
        raise BadInput("classification is of an output of numbers, and this is none")
    rows = array.reshape(len(array), -1) if array.ndim > 1 and array.size else array.reshape(1, -1)
    if array.ndim > 1 and not array.size:
        return np.empty((len(array), 0), object)
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    named = labels if len(labels) == rows.shape[1] else ()
    texts = np.empty(best.shape, object)
    for at, index in np.ndenumerate(best):
        texts[at] = _text(rows[at[0], index], int(index), named)
    return texts if array.ndim > 1 else texts[0]


def _text(value: np.generic, index: int, labels: Sequence[str]) -> bytes:
    number = f"{value:f}" if value.dtype.kind == "f" else str(value)
    return ":".join([number, str(index), *labels[index : index + 1]]).encode()
