"""What flows through each channel of a tensor, over all samples."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_node.prepare.graph import to_session
from protos.codec import Tensor

Values = NDArray[np.float64]


class Channels:
    """Means and peaks of the channels (axis 1) of tensors of a model."""

    def __init__(self, model: onnx.ModelProto, tensors: Iterable[str], inputs: Tensor) -> None:
        """``inputs``: (n, ...); each tensor must have a known rank."""
        ranks = {name: rank for name, rank in _ranks(model).items() if name in set(tensors)}
        self._sums: dict[str, Values] = {}
        self._peaks: dict[str, Values] = {}
        self._count = len(inputs)
        if not ranks:  # no outputs would mean all outputs to the session
            return
        session = to_session(_reducing(model, ranks))
        outputs = [f"{name}/{kind}" for name in ranks for kind in ("mean", "peak")]
        given = session.get_inputs()[0].name
        for row in inputs:
            self._add(list(ranks), session.run(outputs, {given: row[None]}))

    def mean(self, tensor: str) -> Values | None:
        """(channels,) or none for a tensor that was not asked for or has no known rank."""
        return self._sums[tensor] / self._count if tensor in self._sums else None

    def peak(self, tensor: str) -> Values | None:
        """Largest magnitude seen: (channels,), or none as for ``mean``."""
        return self._peaks.get(tensor)

    def _add(self, names: list[str], values: list[Any]) -> None:
        for name, mean, peak in zip(names, values[::2], values[1::2], strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + mean.astype(np.float64)
            self._peaks[name] = np.maximum(self._peaks.get(name, 0.0), peak.astype(np.float64))


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    known = (*model.graph.value_info, *model.graph.output, *model.graph.input)
    return {
        it.name: len(it.type.tensor_type.shape.dim) for it in known if it.type.tensor_type.HasField("shape")
    }


def _reducing(model: onnx.ModelProto, ranks: dict[str, int]) -> onnx.ModelProto:
    """The model with two more outputs a tensor: (channels,) mean and largest magnitude."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name, rank in ranks.items():
        axes = [axis for axis in range(rank) if axis != 1]
        copy.graph.node.append(helper.make_node("Abs", [name], [f"{name}/abs"]))
        for kind, operator, source in (("mean", "ReduceMean", name), ("peak", "ReduceMax", f"{name}/abs")):
            _reduce(copy, operator, (source, f"{name}/{kind}"), axes)
    return copy


def _reduce(model: onnx.ModelProto, operator: str, names: tuple[str, str], axes: list[int]) -> None:
    """``names``: source, result. Up to opset 17 the axes are an attribute, then an input."""
    source, result = names
    opset = next(it.version for it in model.opset_import if it.domain in ("", "ai.onnx"))
    if opset < 18:
        node = helper.make_node(operator, [source], [result], axes=axes, keepdims=0)
    else:
        node = helper.make_node(operator, [source, f"{result}/axes"], [result], keepdims=0)
        model.graph.initializer.append(numpy_helper.from_array(np.array(axes), f"{result}/axes"))
    model.graph.node.append(node)
    model.graph.output.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, [None]))
