"""onnxruntime's sessions speak numpy, which has no bfloat16: such a model is fed onnxruntime's own values."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from protos.bfloat16 import BF16
from protos.codec import Tensor

NAME = "tensor(bfloat16)"
_ONNX = 16
"""Number of the datatype in ONNX."""


def opened(session: Any) -> Any:
    """The session itself, or one that has bfloat16, too, where the model has."""
    ends = (*session.get_inputs(), *session.get_outputs())
    return Session(session) if any(end.type == NAME for end in ends) else session


class Session:
    """What we use of a session, with bfloat16 as arrays of ``BF16``."""

    def __init__(self, session: Any) -> None:
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
        self._run = session.run_with_ort_values

    def run(
        self, names: Sequence[str] | None, feed: Mapping[str, Tensor], options: Any = None
    ) -> list[Tensor]:
        """As in onnxruntime."""
        values = {name: _value(array) for name, array in feed.items()}
        return list(map(_array, self._run(names, values, options)))


def _value(array: Tensor) -> Any:
    from onnxruntime import OrtValue

    if array.dtype == BF16:
        return OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array.view("<u2")), _ONNX)
    return OrtValue.ortvalue_from_numpy(array)


def _array(value: Any) -> Tensor:
    if value.data_type() != NAME:
        return value.numpy()  # type: ignore[no-any-return]
    shape = value.shape()
    raw = ctypes.string_at(value.data_ptr(), int(np.prod(shape)) * BF16.itemsize)
    return np.frombuffer(raw, BF16).reshape(shape)
