"""onnxruntime: opening a model file, and what the file itself says about its tensors."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cloud_server.errors import ModelError, StartError
from cloud_server.inference import bfloat16
from protos.artifact import TensorSpec
from protos.bfloat16 import BF16, narrowed, widened
from protos.codec import DTYPES, CodecError, Tensor
from protos.signature import spec

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""By the names of our settings, those of onnxruntime."""
PACKAGES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
SAFE = (1, 27)
"""From this version on onnxruntime itself reads no file outside a model's folder, for sparse tensors too."""
_FATAL = 4
"""Log level: whatever goes wrong is raised as well."""
_ROUNDING = 1e-3
"""Of a sample's largest answer: floating point adds up in another order where there are more samples."""

log = logging.getLogger(__name__)


def require(providers: Sequence[str]) -> None:
    """``StartError`` names what the installed onnxruntime has instead of one that is missing.

    One that is too old is warned of, for there may be no newer one that has these providers.
    """
    import onnxruntime as ort

    if tuple(map(int, re.findall(r"\d+", ort.__version__)[:2])) < SAFE:
        log.warning(
            "onnxruntime %s would read files outside a model's folder, and only our own look at each model "
            "is in the way: install %d.%d or newer where there is one",
            ort.__version__,
            *SAFE,
        )
    here = [name for name, full in PROVIDERS.items() if full in ort.get_available_providers()]
    if missing := [name for name in providers if name not in here]:
        packages = " or ".join(PACKAGES[name] for name in missing)
        raise StartError(
            f"[execution] providers: {', '.join(missing)} is not in the onnxruntime {ort.__version__} "
            f"that is installed, which has {', '.join(here)}: pip install {packages} in its place"
        )


def open_session(path: Path, providers: Sequence[str] = ("cpu",)) -> Any:
    """One core a run: runs side by side on every core give more than one run on all of them."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(path, options, providers=[PROVIDERS[name] for name in providers])
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise ModelError(path, f"is no ONNX model that can run here: {str(error).splitlines()[0]}") from error
    return bfloat16.opened(session)


def divides(session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bool:
    """Whether samples along the first axis know nothing of each other: it is tried.

    Not so where a model normalises over all of them, quantises by the largest, or runs through time.
    """
    if not inputs or any(spec.shape[:1] != (-1,) for spec in (*inputs, *outputs)):
        return False
    few, more = ({spec.name: _some(spec, count) for spec in inputs} for count in (1, 2))
    both = {name: np.concatenate([few[name], more[name]]) for name in few}
    names = [spec.name for spec in outputs]
    try:
        apart, together = [session.run(names, feed) for feed in (few, more)], session.run(names, both)
    except Exception:  # noqa: BLE001 - onnxruntime's errors have no base of their own
        return False
    return all(map(_same, zip(*apart, strict=True), together))


def _some(spec: TensorSpec, count: int) -> Tensor:
    """Samples of a size that grows with their count, as far as the datatype has sizes."""
    shape = count, *(max(size, 1) for size in spec.shape[1:])
    values = np.random.default_rng(count).normal(0, 10 ** (count - 1), shape)
    dtype = DTYPES[spec.datatype]
    if dtype.hasobject:
        return np.where(values > 0, "a", "b").astype(object)
    if dtype == BF16:
        return narrowed(values)
    return values.astype(dtype) if dtype.kind == "f" else (values > 0).astype(dtype)


def _same(apart: tuple[Tensor, Tensor], together: Tensor) -> bool:
    if [array.shape[:1] for array in (*apart, together)] != [(1,), (2,), (3,)]:
        return False
    expected, together = widened(np.concatenate(apart)), widened(together)
    if expected.shape != together.shape or expected.dtype.kind not in "fiu":
        return np.array_equal(expected, together)
    of_sample = tuple(range(1, expected.ndim))
    off = np.abs(np.subtract(expected, together, dtype=np.float64)).max(of_sample, initial=0)
    return bool((off <= _ROUNDING * np.abs(expected).max(of_sample, initial=0)).all())


def run_options() -> Any:
    """Options of a run; setting ``terminate`` on them ends it."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = _FATAL
    return options


def signature(path: Path, session: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs as the model file declares them; ``ModelError`` if one is no tensor we can carry."""
    try:
        inputs, outputs = tuple(map(spec, session.get_inputs())), tuple(map(spec, session.get_outputs()))
    except CodecError as error:
        raise ModelError(path, str(error)) from None
    if isinstance(session, bfloat16.Session) and any(it.datatype == "BYTES" for it in inputs):
        raise ModelError(path, "takes text and has bfloat16: onnxruntime's Python cannot feed it both")
    return inputs, outputs
