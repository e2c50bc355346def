"""onnxruntime: opening a model file, and what the file itself says about its tensors."""

from pathlib import Path
from typing import Any

from cloud_server.errors import ModelError
from protos.artifact import TensorSpec
from protos.codec import CodecError
from protos.signature import spec

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
    try:
        return tuple(map(spec, session.get_inputs())), tuple(map(spec, session.get_outputs()))
    except CodecError as error:
        raise ModelError(path, str(error)) from None
