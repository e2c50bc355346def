"""All that a training script needs; loads torch."""

from edge_node.prepare.qat.convert import Converted, convert, onnx_logits, torch_logits
from edge_node.prepare.qat.distill import Imitation, onnx_teacher
from edge_node.prepare.qat.errors import QatError
from edge_node.prepare.qat.prepared import Prepared, prepare_qat
from edge_node.prepare.qat.recipe import Quantization, Training
from edge_node.prepare.qat.train import train

__all__ = [
    "Converted",
    "Imitation",
    "Prepared",
    "QatError",
    "Quantization",
    "Training",
    "convert",
    "onnx_logits",
    "onnx_teacher",
    "prepare_qat",
    "torch_logits",
    "train",
]
