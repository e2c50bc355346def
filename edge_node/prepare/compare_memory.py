"""What a model adds to the memory of a process: a child loads it, answers, and tells its resident set."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_node.prepare.errors import PrepareError
from protos.codec import Tensor

if TYPE_CHECKING:
    from onnx import ModelProto

_STATUS = Path("/proc/self/status")
_RUNS = 5


@dataclass(frozen=True)
class Memory:
    """Bytes of resident memory over those of the same process with a model that does nothing."""

    peak: int
    """Loading included."""
    steady: int
    """After a few inferences."""


def memory_of(models: Mapping[str, "ModelProto"], sample: Tensor) -> dict[str, Memory]:
    """Each in a process of its own, at one thread; empty where the system does not tell."""
    if not _STATUS.exists():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        empty = _child(Path(folder), _nothing(), np.zeros(1, np.float32))
        found = {name: _child(Path(folder), model, sample) for name, model in models.items()}
    return {
        name: Memory(max(0, one.peak - empty.peak), max(0, one.steady - empty.steady))
        for name, one in found.items()
    }


def _nothing() -> "ModelProto":
    from onnx import TensorProto, helper

    given, result = (helper.make_tensor_value_info(it, TensorProto.FLOAT, [1, 1]) for it in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "nothing", [given], [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _child(folder: Path, model: "ModelProto", sample: Tensor) -> Memory:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    np.save(folder / "sample.npy", sample[None])
    ended = subprocess.run(  # noqa: S603 - this file
        [sys.executable, "-m", __name__, folder / "model.onnx", folder / "sample.npy"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        why = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise PrepareError(f"the process that measures memory failed: {why}")
    peak, steady = ended.stdout.split()
    return Memory(int(peak), int(steady))


def main(model: str, sample: str) -> str:
    """Run in the child: peak and steady resident set in bytes, by what the kernel says."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.load(sample)}
    for _ in range(_RUNS):
        session.run(None, feed)
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return " ".join(str(int(lines[name].split()[0]) * 1024) for name in ("VmHWM", "VmRSS"))


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]))
