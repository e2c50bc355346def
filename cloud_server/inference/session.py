"""onnxruntime: opening a model file, and what the file itself says about its tensors."""

from pathlib import Path
from typing import Any

from cloud_server.errors import ModelError
from protos.artifact import TensorSpec

_DATATYPES = {
    "tensor(bool)": "BOOL",
    **{f"tensor(int{bits})": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": f"UINT{bits}" for bits in (8, 16, 32, 64)},
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
_FATAL = 4
"""Log level: whatever goes wrong is raised as well."""


def open_session(path: Path) -> Any:
    """One core a run: runs side by side on every core give more than one run on all of them."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise ModelError(path, f"is no ONNX model that can run here: {str(error).splitlines()[0]}") from error


def run_options() -> Any:
    """Options for every run of a model; setting ``terminate`` on them ends all of its runs."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = _FATAL
    return options


def signature(path: Path, session: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs as the model file declares them; ``ModelError`` if one is no tensor we can carry."""
    inputs = tuple(_spec(path, node) for node in session.get_inputs())
    return inputs, tuple(_spec(path, node) for node in session.get_outputs())


def _spec(path: Path, node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise ModelError(path, f"{node.name!r} is {node.type}, which the protocol cannot carry")
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorSpec(name=node.name, datatype=datatype, shape=shape)
