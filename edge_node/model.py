"""The int8 model on the device."""

import os
import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.errors import SampleError
from protos.artifact import MODEL, Artifact, ArtifactError
from protos.codec import Tensor

_WORTH_IT = 1.3
"""All cores must be this much faster than one: they are also what the rest of the device lives on."""
_QUICK = 1e-3
"""Seconds. Below this, one thread wins: handing work to others costs as much as doing it."""
_RUNS = 7
_FATAL = 4


class EdgeModel:
    """An onnxruntime session of an artifact; ``ArtifactError`` if it does not run as the manifest says."""

    def __init__(self, artifact: Artifact, threads: int = 0) -> None:
        self.artifact = artifact
        self._input = artifact.manifest.signature.input.name
        self._outputs = [artifact.manifest.signature.output.name]
        inputs, golden = artifact.vectors
        try:
            self.threads = threads or fastest_threads(artifact)
            self._session = open_session(artifact, self.threads)
            logits = self.predict(inputs[0])  # warm-up: the first run allocates
        except Exception as error:  # onnxruntime's errors have no base of their own
            problem = f"{MODEL} does not run as the manifest says: {_first_line(error)}"
            raise ArtifactError(artifact.directory, problem) from error
        if logits.shape != golden[0].shape:
            problem = f"{MODEL} gives {list(logits.shape)}, the manifest says {list(golden[0].shape)}"
            raise ArtifactError(artifact.directory, problem)

    def predict(self, tensor: Tensor) -> NDArray[np.float32]:
        """Array as the signature says, without the batch -> logits (classes,) float32.

        ``SampleError`` if the model cannot run on it: a size that the signature leaves open may be wrong.
        """
        try:
            batch = self._session.run(self._outputs, {self._input: tensor[np.newaxis]})[0]
        except Exception as error:  # as above
            problem = f"the model cannot run on shape {list(tensor.shape)}: {_first_line(error)}"
            raise SampleError(problem) from error
        logits: NDArray[np.float32] = batch[0]
        return logits


def fastest_threads(artifact: Artifact) -> int:
    """1, or all cores where they are clearly faster on this device (median of a few runs)."""
    cores = os.cpu_count() or 1
    alone = seconds_per_run(artifact, 1)
    if cores == 1 or alone < _QUICK:
        return 1
    return cores if alone > _WORTH_IT * seconds_per_run(artifact, cores) else 1


def seconds_per_run(artifact: Artifact, threads: int) -> float:
    """Median duration of one inference of a golden input on this device."""
    session = open_session(artifact, threads)
    feed = {artifact.manifest.signature.input.name: artifact.vectors[0][:1]}
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def open_session(artifact: Artifact, threads: int) -> Any:
    """A CPU session. Its threads do not spin: between samples a spinning thread burns a core for nothing."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL  # what goes wrong is raised as well
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(artifact.model, options, providers=["CPUExecutionProvider"])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
