"""What a model weighs: its parameters, activations and multiplications, counted from its graph."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import onnx
from onnx import NodeProto, TensorProto, helper

from edge_node.prepare.errors import GraphError
from edge_node.prepare.weights import Graph, attribute

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
"""Of one value."""
_VIEWS = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
_IN_PLACE = frozenset(
    {
        "BatchNormalization", "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "Tanh",
        "HardSigmoid", "HardSwish", "Gelu", "Softmax",
    }
)  # fmt: skip
_STATISTICS = {"BatchNormalization": (3, 4)}
"""Inputs that are constant but not trained."""
_INDICES = frozenset({TensorProto.INT64, TensorProto.BOOL})
"""Sizes and masks that a graph computes with: no activations."""


@dataclass(frozen=True)
class Layer:
    """One operator, in values, not bytes."""

    name: str
    operator: str
    parameters: int
    activations: int
    """What it writes that was not there before: 0 where it works in place or only reads differently."""
    macs: int
    """Multiply-accumulates of convolutions and matrix products."""


@dataclass(frozen=True)
class Footprint:
    """A whole model at one batch size, in values."""

    layers: tuple[Layer, ...]
    live: int
    """The most that is alive at once at inference, the input among it."""

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def activations(self) -> int:
        return sum(layer.activations for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def training(self) -> int:
        """Parameters and every activation kept, as a backward pass needs them: the sum of the field."""
        return self.parameters + self.activations

    @property
    def inference(self) -> int:
        """Parameters and the largest live set: each activation goes when its last reader has read it."""
        return self.parameters + self.live


def footprint(model: onnx.ModelProto, batch: int = 1) -> Footprint:
    """Count a float model; ``GraphError`` if a shape cannot be known from the graph."""
    flow = Flow(model, batch)
    return Footprint(tuple(flow.layers()), flow.largest(flow.values))


def live_bytes(model: onnx.ModelProto, batch: int = 1) -> int:
    """The largest live set in bytes, each tensor in its own type; one only rounded counts as rounded."""
    flow = Flow(model, batch)
    return flow.largest(flow.stored)


class Flow:
    """Which tensor is where, from when to when, at one batch size."""

    def __init__(self, model: onnx.ModelProto, batch: int) -> None:
        self._graph = Graph(_inferred(model, batch))
        graph = self._graph.model.graph
        self._types = {
            it.name: it.type.tensor_type for it in (*graph.input, *graph.value_info, *graph.output)
        }
        self._constants = {it.name: list(it.dims) for it in graph.initializer}
        self._kinds = {it.name: it.data_type for it in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = self._shape(node.output[0])
                self._kinds[node.output[0]] = self._types[node.output[0]].elem_type
        self._outputs = {it.name for it in graph.output}
        self._inputs = [it.name for it in graph.input]

    def layers(self) -> Iterator[Layer]:
        """In the order of the graph; operators that hold, write and multiply nothing are left out."""
        counted: set[str] = set()
        for number, node in enumerate(self._graph.model.graph.node):
            parameters = sum(self.values(name) for name in self._trained(node) if name not in counted)
            counted.update(node.input)
            written = sum(self.values(name) for name in node.output if self._fresh(name))
            macs = self._macs(node)
            if parameters or written or macs:
                yield Layer(node.name or f"{node.op_type}_{number}", node.op_type, parameters, written, macs)

    def values(self, name: str) -> int:
        """How many values a tensor has; none if they are sizes or masks."""
        kind = self._kinds.get(name) or self._types[name].elem_type
        return 0 if kind in _INDICES else math.prod(self._shape(name))

    def stored(self, name: str) -> int:
        """Bytes of a tensor; of the smallest form of it, where its neighbours only round it."""
        return min(self._bytes(one) for one in self._forms[self._roots[name]])

    def largest(self, size: Callable[[str], int]) -> int:
        """The largest sum of sizes of tensors that are alive at the same time."""
        nodes = self._graph.model.graph.node
        first, last = dict.fromkeys(self._inputs, 0), dict.fromkeys(self._inputs, 0)
        for step, node in enumerate(nodes):
            for name in (*node.input, *node.output):
                if name in self._roots:
                    first.setdefault(self._roots[name], step)
                    kept = len(nodes) if name in self._outputs else step
                    last[self._roots[name]] = max(last.get(self._roots[name], 0), kept)
        change = [0] * (len(nodes) + 2)
        for root, step in first.items():
            change[step] += size(root)
            change[last[root] + 1] -= size(root)
        alive = peak = 0
        for step in change:
            alive += step
            peak = max(peak, alive)
        return peak

    @cached_property
    def _roots(self) -> dict[str, str]:
        """Tensor -> the one whose memory it takes over, itself if none; constants are not among them."""
        roots = {name: name for name in self._inputs}
        for node in self._graph.model.graph.node:
            given = next(iter(node.input), "")
            if node.op_type == "Constant" or (
                node.op_type == "DequantizeLinear" and given in self._constants
            ):
                continue
            for name in filter(None, node.output):
                roots[name] = roots[given] if given in roots and self._takes_over(node, given) else name
        return roots

    @cached_property
    def _forms(self) -> dict[str, list[str]]:
        forms: dict[str, list[str]] = {}
        for name, root in self._roots.items():
            forms.setdefault(root, []).append(name)
        return forms

    def _takes_over(self, node: NodeProto, given: str) -> bool:
        if node.op_type in _VIEWS or node.op_type == "DequantizeLinear":
            return True
        alone = self._graph.only_reader(given) is not None
        return alone and given not in self._inputs and node.op_type in (*_IN_PLACE, "QuantizeLinear")

    def _fresh(self, name: str) -> bool:
        return self._roots.get(name) == name

    def _trained(self, node: NodeProto) -> list[str]:
        skipped = _STATISTICS.get(node.op_type, ())
        names = [name for at, name in enumerate(node.input) if at not in skipped and name in self._constants]
        return [name for name in dict.fromkeys(names) if self._kinds[name] not in _INDICES]

    def _macs(self, node: NodeProto) -> int:
        if node.op_type == "Conv":
            return math.prod(self._shape(node.output[0])) * math.prod(self._shape(node.input[1])[1:])
        if node.op_type == "ConvTranspose":
            return math.prod(self._shape(node.input[0])) * math.prod(self._shape(node.input[1])[1:])
        if node.op_type in ("Gemm", "MatMul"):
            inner = self._shape(node.input[0])[0 if attribute(node, "transA", 0) else -1]
            return math.prod(self._shape(node.output[0])) * inner
        return 0

    def _bytes(self, name: str) -> int:
        count = math.prod(self._shape(name))
        return count * int(helper.tensor_dtype_to_np_dtype(self._types[name].elem_type).itemsize)

    def _shape(self, name: str) -> list[int]:
        if name in self._constants:
            return self._constants[name]
        known = self._types.get(name)
        sizes = [it.dim_value if it.HasField("dim_value") else -1 for it in known.shape.dim] if known else []
        if known is None or not known.HasField("shape") or -1 in sizes:
            raise GraphError(
                f"the shape of {name!r} cannot be known from the graph: export it with fixed sizes"
            )
        return sizes


def _inferred(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A copy in which the batch is a number, and every shape follows from it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for given in copy.graph.input:
        if given.type.tensor_type.shape.dim:
            given.type.tensor_type.shape.dim[0].dim_value = batch
    del copy.graph.value_info[:]
    for result in copy.graph.output:
        result.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(copy, data_prop=True)
