"""A model that trains as the device will compute."""

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from edge_node.prepare.qat.errors import QatError, blaming, first_line
from edge_node.prepare.qat.fakequant import FakeQuant, WeightQuant
from edge_node.prepare.qat.layers import LAYERS, NORMS, FoldedLayer
from edge_node.prepare.qat.placement import CEILINGS, Kind, kind_of, source_of, target_of, to_quantize
from edge_node.prepare.qat.recipe import Quantization, Training

Array = NDArray[np.generic]


class Prepared(nn.Module):
    """A model with fake quantisation in it: trains like any module, (batch, ...) -> (batch, classes)."""

    def __init__(self, graph: fx.GraphModule, example: Tensor) -> None:
        super().__init__()
        self.graph = graph
        self.example = example

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.graph(x)
        return logits

    def begin_epoch(self, epoch: int, training: Training) -> None:
        """Training mode; what has moved long enough (epochs count from 0) moves no more."""
        self.train()
        if epoch >= training.batch_norm_epochs:
            self.freeze_batch_norm()
        if epoch >= training.range_epochs:
            self.freeze_ranges()

    def freeze_batch_norm(self) -> None:
        """Use running statistics from now on, as the device will."""
        for layer in self.folded_layers():
            layer.frozen = True

    def freeze_ranges(self) -> None:
        """Keep activation ranges as they are from now on."""
        for quant in self.fake_quants():
            quant.freeze()

    def folded_layers(self) -> Iterator[FoldedLayer]:
        """Every layer with weights."""
        return (module for module in self.modules() if isinstance(module, FoldedLayer))

    def fake_quants(self) -> Iterator[FakeQuant]:
        """Every place where activations are held in uint8."""
        return (module for module in self.modules() if isinstance(module, FakeQuant))

    @contextmanager
    def calibrating(self) -> Iterator[None]:
        """Inside, the model computes in float and every range widens to what it meets."""
        self.eval()
        self._calibrate(now=True)
        try:
            with torch.no_grad():
                yield
        finally:
            self._calibrate(now=False)

    def _calibrate(self, *, now: bool) -> None:
        for quant in self.fake_quants():
            quant.calibrating = now
        for layer in self.folded_layers():
            layer.quantizing = not now


def prepare_qat(model: nn.Module, example: Tensor | Array, recipe: Quantization | None = None) -> Prepared:
    """A copy of ``model`` with batch norm folded and fake quantisation where the device has int8.

    ``example``: (n, ...) some hundred real inputs: activation ranges start from them.
    ``QatError`` says why a model cannot be prepared.
    """
    quantization = recipe or Quantization()
    inputs = torch.as_tensor(example)
    _check_example(model, inputs)
    graph = _trace(copy.deepcopy(model).eval())
    if not _fold_layers(graph, quantization):
        raise QatError("the model calls no Conv1d, Conv2d or Linear module, so there is nothing to quantise")
    _insert_fake_quants(graph, quantization)
    prepared = Prepared(graph, inputs[:2])
    with prepared.calibrating():
        prepared(inputs)
    return prepared


def _check_example(model: nn.Module, inputs: Tensor) -> None:
    if inputs.dim() < 2 or len(inputs) < 2:
        raise QatError(f"example inputs are {tuple(inputs.shape)}; give 2 samples or more, (n, ...)")
    if not inputs.isfinite().all():
        raise QatError("example inputs hold NaN or infinity: every range would be lost; remove them")
    with blaming(f"the model on example inputs {tuple(inputs.shape)}"), torch.no_grad():
        logits = copy.deepcopy(model).eval()(inputs[:2])
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise QatError(f"the model gives {found} for 2 samples, not one tensor (batch, classes)")
    if not logits.isfinite().all():
        raise QatError("the float model gives NaN or infinite logits for the example inputs")


def _trace(model: nn.Module) -> fx.GraphModule:
    """The graph of ``model``, in which a module is the class it was."""
    try:
        return fx.symbolic_trace(model)
    except Exception as error:  # whatever the user's code raises on a value without numbers
        raise QatError(
            f"the model cannot be traced ({first_line(error)}): "
            "forward() must not branch on the values of tensors"
        ) from error


def _fold_layers(graph: fx.GraphModule, quantization: Quantization) -> int:
    """Replace each call of a layer, with the batch norm behind it, and count them."""
    nodes = [node for node in graph.graph.nodes if target_of(node) in LAYERS]
    calls = Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    for index, node in enumerate(nodes):
        name = str(node.target)
        quant = WeightQuant(
            per_channel=quantization.weights == "per_channel", reduce_range=quantization.reduce_range
        )
        layer = FoldedLayer(graph.get_submodule(name), quant)
        if calls[name] == 1:
            _fold_norm(graph, layer, node, calls)
        node.target = f"layer_{index}"
        graph.add_submodule(node.target, layer)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return len(nodes)


def _fold_norm(graph: fx.GraphModule, layer: FoldedLayer, node: fx.Node, calls: Counter[str]) -> None:
    """Give ``layer`` the batch norm that alone uses its output, if there is one."""
    users = list(node.users)
    if len(users) != 1 or target_of(users[0]) not in NORMS or calls[str(users[0].target)] != 1:
        return
    norm = graph.get_submodule(str(users[0].target))
    if norm.weight is None or norm.running_var is None:
        return
    layer.norm = norm
    users[0].replace_all_uses_with(node)
    graph.graph.erase_node(users[0])


def _insert_fake_quants(graph: fx.GraphModule, quantization: Quantization) -> None:
    for index, node in enumerate(to_quantize(graph.graph)):
        name = f"fake_quant_{index}"
        graph.add_submodule(
            name,
            FakeQuant(
                learned=quantization.ranges == "learned",
                momentum=quantization.momentum,
                zero_based=kind_of(node) is Kind.ACTIVATION,
                ceiling=CEILINGS.get(target_of(node), float("inf")),
            ),
        )
        with graph.graph.inserting_after(node):
            quantized = graph.graph.call_module(name, (node,))
        node.replace_all_uses_with(quantized, delete_user_cb=lambda user, made=quantized: user is not made)
    for node in graph.graph.nodes:
        if target_of(node) is FoldedLayer:
            quantized = source_of(node.all_input_nodes[0])
            layer = graph.get_submodule(str(node.target))
            layer.input_quant = (graph.get_submodule(str(quantized.target)),)
    graph.graph.lint()
    graph.recompile()
