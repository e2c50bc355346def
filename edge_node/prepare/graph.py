"""Load an ONNX model, say in one line what cannot be quantised about it, fold what can be folded."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from edge_node.prepare.errors import GraphError, PrepareError
from edge_node.prepare.pack import signature_of
from protos.artifact import Signature

OPSET = 13
"""The first with scales by channel. An older model is converted to ``CONVERTED``."""
CONVERTED = 17
_IR = 8
"""Of the same age as opset 17."""
_HALF = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
_QUANTIZED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger"}
)


def load(path: Path) -> onnx.ModelProto:
    """The checked model, at opset 13 or newer; ``GraphError`` says what is wrong with the file."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise GraphError(f"{path} is no sound ONNX model: {first_line(error)}") from error
    except OSError as error:
        raise GraphError(f"{path} cannot be read: {(error.strerror or first_line(error)).lower()}") from error
    if not model.graph.node:
        raise GraphError(f"{path} is no sound ONNX model: it has no operators")
    return check(model, str(path))


def check(model: onnx.ModelProto, name: str = "the model") -> onnx.ModelProto:
    """The model, converted if its opset is too old; ``GraphError`` if it cannot be quantised."""
    found = {node.op_type for node in model.graph.node}
    if done := sorted(found & _QUANTIZED):
        raise GraphError(f"{name} is quantised already (it has {done[0]}): give the fp32 model")
    if _HALF & {*(it.data_type for it in model.graph.initializer), *map(_elements, model.graph.input)}:
        raise GraphError(f"{name} is in 16-bit floats: give the fp32 model")
    _own_constants(model)
    _check_shape(model, name)
    return _recent(model, name)


def _check_shape(model: onnx.ModelProto, name: str) -> None:
    for given in model.graph.input:
        sizes = [size.dim_param or size.dim_value or "?" for size in given.type.tensor_type.shape.dim]
        if sizes and isinstance(sizes[0], int) and sizes[0] > 1:
            taken = f"takes {sizes[0]} samples at a time"
            raise GraphError(f"{name}: input {given.name!r} {taken}, not one: export it with an open batch")
        if free := [str(it) for it in sizes[1:] if isinstance(it, str)]:
            fixed = ",".join("N" if isinstance(it, str) else str(it) for it in (1, *sizes[1:]))
            raise GraphError(
                f"{name}: input {given.name!r} leaves {', '.join(free)} open, only the batch may be; "
                "fix it with python -m onnxruntime.tools.make_dynamic_shape_fixed "
                f"--input_name {given.name} --input_shape {fixed}"
            )


def _elements(given: onnx.ValueInfoProto) -> int:
    return int(given.type.tensor_type.elem_type)


def _own_constants(model: onnx.ModelProto) -> None:
    """Old files list their constants among the inputs, where a caller could replace them: no folding."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for given in [it for it in model.graph.input if it.name in constants]:
        model.graph.input.remove(given)
    model.ir_version = max(model.ir_version, _IR)


def _recent(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    opset = next((it.version for it in model.opset_import if it.domain in ("", "ai.onnx")), OPSET)
    if opset >= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, CONVERTED)
    except Exception as error:  # the converter raises a bare RuntimeError, and more
        why = f"opset {opset}, too old to convert ({first_line(error)})"
        raise GraphError(f"{name} has {why}: export it with opset {CONVERTED}") from error


def fold(model: onnx.ModelProto, name: str = "the model") -> onnx.ModelProto:
    """Constants and batch norms folded, every shape known, every node named; the same function.

    onnxruntime does the folding; ``GraphError`` names an operator that it does not know.
    """
    import onnxruntime as ort
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    runnable(model, name)
    with tempfile.TemporaryDirectory() as scratch:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(scratch) / "folded.onnx")
        options.log_severity_level = 4
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # what runs can fail only where it is written
            raise PrepareError(
                f"{scratch} cannot be written; is the disk full? ({first_line(error)})"
            ) from error
        folded = onnx.shape_inference.infer_shapes(onnx.load(options.optimized_model_filepath))
    _name_nodes(folded)
    add_pre_process_metadata(folded)
    return folded


def _name_nodes(model: onnx.ModelProto) -> None:
    """Layers are put back to float by name."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)


def take_pixels(model: onnx.ModelProto, mean: Sequence[float], std: Sequence[float]) -> onnx.ModelProto:
    """A model of float (batch, 3, h, w) as one of uint8 pixels (batch, h, w, 3), normalised inside."""
    given = model.graph.input[0]
    sizes = given.type.tensor_type.shape.dim
    if given.type.tensor_type.elem_type != TensorProto.FLOAT or len(sizes) != 4 or sizes[1].dim_value != 3:
        raise GraphError(
            f"input {given.name!r} is not FP32 (batch, 3, height, width): --mean and --std do not apply"
        )
    for name, values in (("mean", mean), ("std", std)):
        constant = np.array(values, np.float32).reshape(-1, 1, 1)
        model.graph.initializer.append(numpy_helper.from_array(constant, f"pixel_{name}"))
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["pixels_first"], "pixels_first", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["pixels_first"], ["pixels_float"], "pixels_float", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels_float", "pixel_mean"], ["pixels_centred"], "pixels_centred"),
        helper.make_node("Div", ["pixels_centred", "pixel_std"], [given.name], "pixels_scaled"),
    ]
    shape = [sizes[0].dim_param or sizes[0].dim_value, sizes[2].dim_value, sizes[3].dim_value, 3]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.input.remove(given)
    model.graph.node.extend([*nodes, *rest])
    model.graph.input.append(pixels)
    return model


def first_line(error: BaseException) -> str:
    """The first line of a library's message, which may be long."""
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return text.split(" : ", 3)[-1].rsplit("failed: ", 1)[-1][:200]


def signature(model: onnx.ModelProto, name: str = "the model") -> Signature:
    """What goes in and comes out; ``GraphError`` if that is not one tensor and one row of logits a sample."""
    found = signature_of(runnable(model, name))
    if len(found.output.shape) != 2 or found.output.shape[1] < 2:
        raise GraphError(
            f"{name}: output {found.output.name!r} is {found.output.shape}, not (batch, classes) logits"
        )
    return found


def runnable(model: onnx.ModelProto, name: str) -> Any:
    """A session of it; ``GraphError`` says what onnxruntime does not know."""
    try:
        return to_session(model)
    except Exception as error:  # onnxruntime raises a class of its own for each status
        raise GraphError(f"{name} cannot be run by onnxruntime: {first_line(error)}") from error


def to_session(model: onnx.ModelProto, threads: int = 1) -> Any:
    """A CPU session of a model in memory."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
