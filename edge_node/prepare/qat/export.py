"""The exported graph: QDQ ONNX, weights and biases as integers, what onnxruntime has int8 kernels for."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxscript  # noqa: F401 - torch's exporter needs it: better missed before the training than after
import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.onnx import ops

from edge_node.prepare.qat.errors import QatError, first_line
from edge_node.prepare.qat.fakequant import LEVELS, FakeQuant
from edge_node.prepare.qat.layers import FoldedLayer
from edge_node.prepare.qat.placement import CEILINGS, Kind, kind_of, source_of, target_of
from edge_node.prepare.qat.prepared import Prepared

OPSET = 18
INPUT, OUTPUT = "input", "logits"


def export(prepared: Prepared, path: Path) -> int:
    """Write ``prepared`` as QDQ ONNX; how many of its layers should run in int8."""
    graph = copy.deepcopy(prepared).eval().graph
    _drop_what_only_trains(graph)
    _keep_range_where_values_pass(graph)
    layers = _to_integers(graph)
    _drop_what_saturates(graph)
    graph.graph.lint()
    graph.recompile()
    _write(graph, prepared.example, path)
    _strip(path)
    return layers


class QuantizeDequantize(nn.Module):
    """Activations through uint8."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, quant: FakeQuant) -> None:
        super().__init__()
        scale, zero_point = quant.qparams()
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point)

    def forward(self, x: Tensor) -> Tensor:
        inputs = (x, self.scale, self.zero_point)
        levels = ops.symbolic("QuantizeLinear", inputs, dtype=torch.uint8, shape=x.shape)
        return _dequantize(levels, self.scale, self.zero_point, {})


class IntegerLayer(nn.Module):
    """A layer with int8 weights and int32 bias."""

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor
    bias_scale: Tensor
    zero_weight: Tensor
    zero_bias: Tensor

    def __init__(self, layer: FoldedLayer) -> None:
        super().__init__()
        weight, bias = (parameter.detach() for parameter in layer.folded())
        scale, bias_scale = layer.scales(weight, bias)
        self.layer = layer.layer
        self.axis = {"axis": 0} if layer.quant.per_channel else {}
        self.register_buffer("weight", layer.quant.levels(weight, scale))
        self.register_buffer("weight_scale", scale if layer.quant.per_channel else scale.reshape(()))
        self.register_buffer("bias", (bias / bias_scale).round().to(torch.int32))
        self.register_buffer("bias_scale", bias_scale)
        self.register_buffer("zero_weight", torch.zeros_like(self.weight_scale, dtype=torch.int8))
        self.register_buffer("zero_bias", torch.zeros_like(bias_scale, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        weight = _dequantize(self.weight, self.weight_scale, self.zero_weight, self.axis)
        bias = _dequantize(self.bias, self.bias_scale, self.zero_bias, {"axis": 0})
        return functional_call(self.layer, {"weight": weight, "bias": bias}, (x,))


def _dequantize(levels: Tensor, scale: Tensor, zero_point: Tensor, attributes: dict[str, int]) -> Tensor:
    inputs = (levels, scale, zero_point)
    return ops.symbolic("DequantizeLinear", inputs, attributes, dtype=torch.float32, shape=levels.shape)


def _drop_what_only_trains(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if target_of(node) in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.graph.erase_node(node)


def _keep_range_where_values_pass(graph: fx.GraphModule) -> None:
    """Say behind each passing node that values are still uint8: onnxruntime moves them as such."""
    for node in list(graph.graph.nodes):
        before = source_of(node)
        if kind_of(node) is Kind.PASSING and target_of(before) is FakeQuant:
            with graph.graph.inserting_after(node):
                again = graph.graph.call_module(str(before.target), (node,))
            node.replace_all_uses_with(again, delete_user_cb=lambda user, made=again: user is not made)


def _to_integers(graph: fx.GraphModule) -> int:
    """Replace every fake quantisation by a real one; how many layers are called."""
    layers = [node for node in graph.graph.nodes if target_of(node) is FoldedLayer]
    for index, node in enumerate(layers):
        name = f"integer_{index}"
        graph.add_submodule(name, IntegerLayer(graph.get_submodule(str(node.target))))
        node.target = name
    for name, module in list(graph.named_children()):
        if isinstance(module, FakeQuant):
            graph.set_submodule(name, QuantizeDequantize(module))
    return len(layers)


def _drop_what_saturates(graph: fx.GraphModule) -> None:
    """Remove activations that uint8 does by itself: with them in between, onnxruntime computes in float."""
    for node in list(graph.graph.nodes):
        if kind_of(node) is not Kind.ACTIVATION or len(node.users) != 1:
            continue
        quant = next(iter(node.users))
        if target_of(quant) is QuantizeDequantize and _saturates(graph, node, quant):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.graph.erase_node(node)


def _saturates(graph: fx.GraphModule, activation: fx.Node, quant: fx.Node) -> bool:
    module = graph.get_submodule(str(quant.target))
    ceiling = CEILINGS.get(target_of(activation), float("inf"))
    return bool(module.zero_point == 0 and module.scale * LEVELS <= ceiling * (1 + 1e-6))


def _write(graph: fx.GraphModule, example: Tensor, path: Path) -> None:
    with _quiet():
        try:
            torch.onnx.export(
                graph,
                (example,),
                path,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter raises a class of its own for each step
            raise QatError(f"the model cannot be exported to ONNX: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The first line of what began a chain of exceptions."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings about its own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _strip(path: Path) -> None:
    """Remove stack traces, which name this machine's paths; the same model gives the same bytes."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    parts: list[Any] = [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    path.write_bytes(model.SerializeToString(deterministic=True))
