"""From a trained model to a proven ONNX file."""

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_node.prepare.qat.errors import QatError, blaming, first_line
from edge_node.prepare.qat.export import export
from edge_node.prepare.qat.prepared import Array, Prepared

AGREEMENT = 0.999
"""Share of samples on which the exported graph must choose the class that the fake-quantised model does."""
BATCH = 256
_INT8_KERNELS = frozenset({"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"})


@dataclass(frozen=True)
class Converted:
    """An exported graph and how it was proven."""

    path: Path
    samples: int
    agreement: float
    """Share of the samples with the top-1 of the fake-quantised model."""
    layers: int
    """Layers with weights."""
    int8_layers: int
    """Those that onnxruntime runs with an int8 kernel on this machine."""
    logits: NDArray[np.float32]
    """(samples, classes), of onnxruntime."""


def convert(prepared: Prepared, path: Path, inputs: Array, agreement: float = AGREEMENT) -> Converted:
    """Export to ``path`` and prove it on ``inputs`` (n, ...); written whole, and only if it holds.

    ``QatError`` if top-1 of onnxruntime and of the fake-quantised model agree on a smaller share
    than ``agreement``, or if no layer runs in int8.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        exported = Path(scratch) / path.name
        with blaming(f"the model on test inputs {inputs.shape}"):
            expected = torch_logits(prepared, inputs)
        layers = export(prepared, exported)
        int8_layers = _int8_kernels(exported)
        with blaming("the exported graph"):
            logits = onnx_logits(exported, inputs)
        same = float((logits.argmax(1) == expected.argmax(1)).mean())
        if int8_layers == 0:
            raise QatError(f"onnxruntime runs none of the {layers} layers in int8: nothing would be gained")
        if same < agreement:
            raise QatError(
                f"the exported graph gives the class of the fake-quantised model for {same:.2%} of "
                f"{len(inputs)} samples, not for {agreement:.2%}; without VNNI set reduce_range = true"
            )
        exported.replace(path)
    return Converted(path, len(inputs), same, layers, int8_layers, logits)


def torch_logits(model: nn.Module, inputs: Array) -> NDArray[np.float32]:
    """(n, classes) of a model in evaluation, its mode restored."""
    training = model.training
    model.eval()
    with torch.no_grad():
        logits = [model(torch.as_tensor(batch)).float().numpy() for batch in _batches(inputs)]
    model.train(training)
    return np.concatenate(logits)


def onnx_logits(path: Path, inputs: Array) -> NDArray[np.float32]:
    """(n, classes) of an ONNX model of one input and one output."""
    session = open_session(path)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: batch})[0] for batch in _batches(inputs)])


def open_session(path: Path, options: Any = None) -> Any:
    """A CPU session of the model; ``QatError`` if onnxruntime does not take it."""
    import onnxruntime as ort

    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class of its own for each status
        raise QatError(f"{path.name} cannot be loaded: {first_line(error)}") from error


def _batches(inputs: Array) -> list[Array]:
    return np.array_split(inputs, range(BATCH, len(inputs), BATCH))


def _int8_kernels(path: Path) -> int:
    """How many layers of the graph, as onnxruntime optimises it here, have int8 kernels."""
    import onnx
    import onnxruntime as ort

    optimised = path.with_suffix(".optimised")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    open_session(path, options)
    kernels = Counter(node.op_type for node in onnx.load(optimised).graph.node)
    return sum(kernels[kernel] for kernel in _INT8_KERNELS)
