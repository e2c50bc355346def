"""Pack an ONNX model and what is known about it into an artifact."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.prepare.errors import PrepareError
from protos import artifact as contract
from protos.artifact import (
    Artifact,
    CloudModel,
    Gate,
    ImageInput,
    Precision,
    Signature,
    TensorInput,
)
from protos.codec import DTYPES, CodecError, Tensor
from protos.signature import spec

GOLDEN = 16
"""Golden vectors kept: enough to touch every class of a small model, few enough to replay in a moment."""
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 5e-2}
"""Share of the largest logit by which another CPU's kernels may differ."""


class PackError(PrepareError):
    """A model or its facts that cannot become an artifact: says which and why."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about a model beyond its graph: the words of the manifest."""

    name: str
    precision: Precision
    labels: Sequence[str]
    version: str = "1"
    preprocessing: TensorInput | ImageInput = field(default_factory=TensorInput)
    gate: Gate | None = None
    cloud: CloudModel | None = None
    variants: Mapping[str, Path] = field(default_factory=dict)
    """The same model in other forms: name -> folder of its artifact."""


def pack(
    directory: Path, model: Path, facts: Facts, samples: Tensor, report: Mapping[str, Any] | None = None
) -> Artifact:
    """Write ``directory`` whole or not at all; it may hold an earlier artifact. Same input, same bytes.

    ``samples``: (n, ...) in the dtype and shape of the model's one input. The golden vectors are
    the first of them whose two best logits lie further apart than two tolerances, so that on any
    device logits within the tolerance mean the same top-1. ``PackError`` or ``ArtifactError`` says
    what does not fit.
    """
    session = _session(model)
    signature = signature_of(session)
    inputs, logits, tolerance = _golden(session, signature, samples, TOLERANCE[facts.precision])
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
        folder = Path(scratch) / "artifact"
        folder.mkdir()
        shutil.copyfile(model, folder / contract.MODEL)
        np.savez_compressed(folder / contract.VECTORS, inputs=inputs, logits=logits)
        if report is not None:
            (folder / contract.REPORT).write_bytes(contract.encode_report(report))
        for name, variant in facts.variants.items():
            shutil.copytree(variant, folder / name)
        _write_manifest(folder, facts, signature, tolerance)
        contract.load(folder)
        put_in_place(folder, directory)
    return contract.load(directory)


def signature_of(session: Any) -> Signature:
    """Signature of an onnxruntime session with one input and one output; ``PackError`` if it has more."""
    tensors = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
    for kind, found in tensors.items():
        if len(found) != 1:
            raise PackError(
                f"the model has {len(found)} {kind} ({', '.join(it.name for it in found)}), not one"
            )
    try:
        signature = Signature(input=spec(tensors["inputs"][0]), output=spec(tensors["outputs"][0]))
    except CodecError as error:
        raise PackError(str(error)) from None
    for it in (signature.input, signature.output):
        if it.datatype not in contract.DATATYPES:
            raise PackError(f"{it.name!r} is {it.datatype}, which an artifact cannot have: cast it to FP32")
    return signature


def _session(model: Path) -> Any:
    import onnxruntime as ort

    try:
        return ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class of its own for each status
        raise PackError(f"{model} cannot be loaded: {str(error).splitlines()[0]}") from error


def _golden(
    session: Any, signature: Signature, samples: Tensor, share: float
) -> tuple[Tensor, NDArray[np.float32], float]:
    """Inputs, logits and tolerance of the golden vectors."""
    logits = _logits(session, signature, samples)
    tolerance = float(share * np.abs(logits).max())
    ordered = np.sort(logits, axis=1)
    clear = np.flatnonzero(ordered[:, -1] - ordered[:, -2] > 2 * tolerance)[:GOLDEN]
    if not clear.size:
        raise PackError("no sample has a clear winner to make a golden vector of; give more samples")
    return samples[clear], logits[clear], tolerance


def _logits(session: Any, signature: Signature, samples: Tensor) -> NDArray[np.float32]:
    """What the model gives, (n, classes), for samples one at a time, as a node runs it."""
    wanted = DTYPES[signature.input.datatype]
    if samples.dtype != wanted or not signature.input.fits((1, *samples.shape[1:])) or not samples.size:
        raise PackError(
            f"samples are {samples.dtype} {samples.shape}, the model takes {wanted} {signature.input.shape}"
        )
    try:
        given = [session.run(None, {signature.input.name: row[np.newaxis]})[0] for row in samples]
    except Exception as error:  # onnxruntime raises a class of its own for each status
        raise PackError(f"the model does not run on a sample: {str(error).splitlines()[0]}") from error
    if given[0].ndim != 2 or len(given[0]) != 1 or given[0].shape[1] < 2:
        raise PackError(f"the model gives {given[0].shape} for a sample, not (1, classes)")
    logits: NDArray[np.float32] = np.concatenate(given).astype(np.float32)
    if not np.isfinite(logits).all():
        raise PackError("the model gives NaN or infinite logits for a sample")
    return logits


def _write_manifest(folder: Path, facts: Facts, signature: Signature, tolerance: float) -> None:
    manifest = contract.Manifest(
        name=facts.name,
        version=facts.version,
        precision=facts.precision,
        signature=signature,
        labels=tuple(facts.labels),
        preprocessing=facts.preprocessing,
        gate=facts.gate,
        cloud=facts.cloud,
        tolerance=tolerance,
        files={path.name: contract.digest(path) for path in sorted(folder.iterdir()) if path.is_file()},
        variants={
            name: contract.digest(folder / name / contract.MANIFEST) for name in sorted(facts.variants)
        },
    )
    (folder / contract.MANIFEST).write_bytes(contract.encode_manifest(manifest))


def put_in_place(folder: Path, directory: Path) -> None:
    """Move ``folder`` to ``directory``, which may hold an artifact but nothing else."""
    if directory.exists():
        if not (directory / contract.MANIFEST).exists():
            raise PackError(f"{directory} exists and is no artifact; choose another or remove it")
        shutil.rmtree(directory)
    folder.rename(directory)
