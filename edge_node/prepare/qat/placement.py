"""Where fake quantisation belongs in a traced graph, so that onnxruntime finds int8 kernels for it."""

import operator
from enum import Enum, auto

import torch
from torch import fx, nn
from torch.nn import functional

from edge_node.prepare.qat.layers import LAYERS, FoldedLayer


class Kind(Enum):
    """What a node of the graph is to a quantiser."""

    LAYER = auto()
    """Has weights: always int8."""
    ARITHMETIC = auto()
    """Joins tensors: int8 between int8 layers."""
    ACTIVATION = auto()
    """What saturating uint8 does by itself: melts into the node before it."""
    PASSING = auto()
    """Moves or selects values: its output has the range of its input."""
    OTHER = auto()
    """Stays float."""


_ACTIVATIONS = {nn.ReLU, nn.ReLU6, functional.relu, functional.relu6, torch.relu, "relu", "relu_"}
_ARITHMETIC = {operator.add, operator.iadd, operator.mul, operator.imul, torch.add, torch.mul, "add", "mul"}
_CONCATENATIONS = {torch.cat, torch.concat}
_PASSING = {
    *(nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity, nn.MaxPool1d, nn.MaxPool2d),
    *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze),
    *("flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "contiguous"),
    *(functional.dropout, functional.max_pool1d, functional.max_pool2d),
}
CEILINGS = {nn.ReLU6: 6.0, functional.relu6: 6.0}


def target_of(node: fx.Node) -> object:
    """The class of a module, or the function or method name that is called."""
    if node.op != "call_module":
        return node.target
    owner = node.graph.owning_module
    return type(owner.get_submodule(str(node.target))) if owner else None


def kind_of(node: fx.Node) -> Kind:
    """What ``node`` is to a quantiser."""
    target = target_of(node)
    if node.op == "call_module" and target in (*LAYERS, FoldedLayer):
        return Kind.LAYER
    if target in _ACTIVATIONS:
        return Kind.ACTIVATION
    if target in _PASSING:
        return Kind.PASSING
    if target in _CONCATENATIONS or (target in _ARITHMETIC and _joins_nodes(node)):
        return Kind.ARITHMETIC
    return Kind.OTHER


def to_quantize(graph: fx.Graph) -> list[fx.Node]:
    """The nodes, in order, whose output is held in uint8.

    Those that feed a layer (or arithmetic between layers), and every layer's own output but the
    logits. An activation behind a layer takes its place; what only passes values on needs nothing.
    """
    wanted: dict[fx.Node, bool] = {}
    quantized = []
    for node in reversed(graph.nodes):
        quantize = _quantize(node, wanted)
        if quantize:
            quantized.append(node)
        wanted[node] = _wants_int8(node, wanted, quantize=quantize)
    return quantized[::-1]


def source_of(node: fx.Node) -> fx.Node:
    """The node whose values ``node`` has, seen through all that only passes values on."""
    while kind_of(node) is Kind.PASSING:
        node = node.all_input_nodes[0]
    return node


def _quantize(node: fx.Node, wanted: dict[fx.Node, bool]) -> bool:
    kind = kind_of(node)
    if node.op == "output" or kind is Kind.PASSING or _melts(node):
        return False
    if any(wanted[user] for user in node.users):
        return True
    layer = node if kind is Kind.LAYER else _melted_layer(node)
    return layer is not None and not _reaches_output(node)


def _wants_int8(node: fx.Node, wanted: dict[fx.Node, bool], *, quantize: bool) -> bool:
    """Whether the inputs of ``node`` should be int8."""
    match kind_of(node):
        case Kind.LAYER:
            return True
        case Kind.ARITHMETIC:
            return quantize or (_melts(node) and _quantize(next(iter(node.users)), wanted))
        case Kind.PASSING:
            return any(wanted[user] for user in node.users)
        case _:
            return False


def _melts(node: fx.Node) -> bool:
    """Whether an activation right behind ``node`` is quantised in its stead."""
    users = list(node.users)
    return (
        kind_of(node) in (Kind.LAYER, Kind.ARITHMETIC)
        and len(users) == 1
        and kind_of(users[0]) is Kind.ACTIVATION
    )


def _melted_layer(node: fx.Node) -> fx.Node | None:
    """The layer that melts into the activation ``node``, or ``None``."""
    if kind_of(node) is not Kind.ACTIVATION:
        return None
    before = node.all_input_nodes[0]
    return before if kind_of(before) is Kind.LAYER and _melts(before) else None


def _reaches_output(node: fx.Node) -> bool:
    """Whether ``node`` gives the logits, seen through what only passes values on."""
    return any(
        user.op == "output" or (kind_of(user) is Kind.PASSING and _reaches_output(user))
        for user in node.users
    )


def _joins_nodes(node: fx.Node) -> bool:
    """Whether both operands are computed: arithmetic with a number stays float."""
    return len(node.args) == 2 and all(isinstance(argument, fx.Node) for argument in node.args)
