"""Mixed precision: the fewest layers back to float that make the accuracy budget hold."""

from collections.abc import Callable, Sequence

import onnx

from edge_node.prepare.measure import distance, logits_of
from edge_node.prepare.progress import counted
from edge_node.prepare.variants import Calibration, Static
from protos.codec import Tensor


def quantized_layers(model: onnx.ModelProto, quantized: onnx.ModelProto) -> list[str]:
    """Layers of the float model that its QDQ form computes in int8."""
    own = {node.name for node in model.graph.node}
    dequantized = {node.output[0] for node in quantized.graph.node if node.op_type == "DequantizeLinear"}
    return [
        node.name
        for node in quantized.graph.node
        if node.name in own and dequantized.intersection(node.input)
    ]


def sensitivities(
    static: Static, ranges: Calibration, layers: Sequence[str], inputs: Tensor
) -> dict[str, float]:
    """How far the answers to ``inputs`` (n, ...) move when one layer alone is int8."""
    reference = logits_of(static.model, inputs)
    return {
        layer: distance(reference, logits_of(static.quantize(ranges, only=[layer]), inputs))
        for layer in counted(layers, "measuring the sensitivity of each layer")
    }


def fewest(ranked: Sequence[str], holds: Callable[[Sequence[str]], bool]) -> list[str]:
    """The shortest prefix of ``ranked`` (worst first) that holds, without those it holds without.

    ``holds`` must be true of all of them. Takes log2(n) + k calls for a prefix of k.
    """
    low, high = 0, len(ranked)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(ranked[:middle]) else (middle + 1, high)
    chosen = list(ranked[:low])
    for layer in reversed(ranked[: max(low - 1, 0)]):
        without = [one for one in chosen if one != layer]
        if holds(without):
            chosen = without
    return chosen
