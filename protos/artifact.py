"""A model artifact: a directory that carries the model and all that is needed to trust it.

``model.onnx``, ``manifest.json`` (this file's ``Manifest``), ``vectors.npz`` (golden inputs and
logits) and ``report.json``. The manifest holds the SHA-256 of every other file; ``load`` verifies
all of it, so that a changed byte never runs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from protos.codec import DTYPES, Tensor
from protos.score import Gain, Msp, ScoreSpec

MODEL = "model.onnx"
MANIFEST = "manifest.json"
VECTORS = "vectors.npz"
REPORT = "report.json"

DATATYPES = DTYPES.keys() - {"BF16"}
"""Of an artifact's tensors: a device's onnxruntime exchanges no BF16 with numpy."""

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Precision = Literal["fp32", "fp16", "int8"]


class ArtifactError(Exception):
    """A directory that is not a sound model artifact: says which file, and what is wrong with it."""

    def __init__(self, directory: Path, problem: str) -> None:
        super().__init__(f"artifact {directory}: {problem}")
        self.directory = directory
        self.problem = problem


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the manifest: immutable, and a misspelt field is an error."""


class TensorSpec(Part, frozen=True, kw_only=True):
    """One tensor of a signature."""

    name: str
    datatype: str
    """Datatype of the Open Inference Protocol: `FP32`, `UINT8`, ..."""
    shape: tuple[int, ...]
    """-1 stands for a dimension of any size; the first is the batch."""

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be fed."""
        return len(shape) == len(self.shape) and all(
            want in (-1, got) for want, got in zip(self.shape, shape, strict=True)
        )


class Signature(Part, frozen=True, kw_only=True):
    """What goes into the model and what comes out: one tensor each."""

    input: TensorSpec
    output: TensorSpec


class TensorInput(Part, frozen=True, kw_only=True, tag="tensor", tag_field="kind"):
    """A sample is an array of the signature's shape without the batch; it travels as it is."""


class ImageInput(Part, frozen=True, kw_only=True, tag="image", tag_field="kind"):
    """A sample is a JPEG or PNG; it travels encoded, and each side decodes it for its own model.

    A centre square of ``crop`` x the shorter side, resized (bicubic) to ``size`` x ``size``, RGB,
    uint8, (height, width, channel).
    """

    size: Annotated[int, Meta(ge=1, le=4096)]
    crop: Annotated[float, Meta(gt=0, le=1)] = 1.0


class Gate(Part, frozen=True, kw_only=True):
    """When to trust the edge: score(logits / temperature) >= threshold."""

    score: ScoreSpec = Msp()
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    threshold: float


class CloudModel(Part, frozen=True, kw_only=True):
    """The model that deferred samples are meant for."""

    name: Name
    sha256: Digest


class Manifest(Part, frozen=True, kw_only=True):
    """Everything a runtime has to know about a model."""

    schema: Literal["tidegate.artifact/1"] = "tidegate.artifact/1"
    name: Name
    version: Name
    precision: Precision
    signature: Signature
    labels: tuple[str, ...]
    """One a class, in the order of the logits."""
    preprocessing: TensorInput | ImageInput = TensorInput()
    gate: Gate | None = None
    """Only in artifacts for the edge."""
    cloud: CloudModel | None = None
    tolerance: Annotated[float, Meta(ge=0)]
    """Largest difference of a logit from its golden vector on any device."""
    files: dict[str, Digest]
    """SHA-256 of every other file of the artifact."""
    variants: dict[Name, Digest] = {}
    """The same model in other forms, each an artifact in a folder of this name: SHA-256 of its manifest."""


@dataclass(frozen=True)
class Artifact:
    """A verified artifact."""

    directory: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.directory / MODEL

    @property
    def sha256(self) -> str:
        """Digest of the ONNX file: the identity of the model."""
        return self.manifest.files[MODEL]

    @cached_property
    def variants(self) -> "dict[str, Artifact]":
        """The other forms of this model, verified; ``ArtifactError`` if one is not what was packed."""
        return {name: self._variant(name, digest) for name, digest in self.manifest.variants.items()}

    def _variant(self, name: str, expected: str) -> "Artifact":
        if (self.directory / name).is_symlink():
            raise ArtifactError(self.directory, f"variant {name!r} does not lie in the artifact itself")
        _verify(self.directory / name, MANIFEST, expected)
        variant = load(self.directory / name)
        if (variant.manifest.signature, variant.manifest.labels) != (
            self.manifest.signature,
            self.manifest.labels,
        ):
            raise ArtifactError(self.directory, f"variant {name} has another signature or other labels")
        return variant

    @cached_property
    def vectors(self) -> tuple[Tensor, NDArray[np.float32]]:
        """Golden inputs (n, ...) in the signature's dtype and logits (n, classes) float32."""
        try:
            with (self.directory / VECTORS).open("rb") as file, np.load(file) as stored:
                return stored["inputs"], stored["logits"].astype(np.float32)
        except Exception as error:  # numpy, zipfile and zlib each have errors of their own
            raise ArtifactError(self.directory, f"{VECTORS} cannot be read: {error}") from error


def preprocessing_id(manifest: Manifest) -> str:
    """SHA-256 of how a sample becomes the model's input."""
    how = msgspec.json.encode([manifest.preprocessing, manifest.signature.input], order="deterministic")
    return hashlib.sha256(how).hexdigest()


def load(directory: str | Path) -> Artifact:
    """Read and verify an artifact; ``ArtifactError`` says exactly what is wrong."""
    directory = Path(directory)
    manifest = _read_manifest(directory)
    for required in (MODEL, VECTORS):
        if required not in manifest.files:
            raise ArtifactError(directory, f"{MANIFEST} lists no SHA-256 for {required}")
    for name, expected in manifest.files.items():
        _verify(directory, name, expected)
    artifact = Artifact(directory, manifest)
    if problem := _contradiction(artifact):
        raise ArtifactError(directory, problem)
    artifact.variants  # noqa: B018 - loads, and so verifies, them too
    return artifact


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    """Indented JSON, the same bytes for the same manifest."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"


def encode_report(report: Mapping[str, Any]) -> bytes:
    """Indented JSON, the same bytes for the same report."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def _read_manifest(directory: Path) -> Manifest:
    if not directory.is_dir():
        raise ArtifactError(directory, "no such directory")
    try:
        return msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ArtifactError(directory, f"has no {MANIFEST}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise ArtifactError(directory, f"{MANIFEST}: {error}") from error


def _verify(directory: Path, name: str, expected: str) -> None:
    path = directory / name
    if path.parent != directory or path.is_symlink():
        raise ArtifactError(directory, f"{name!r} does not lie in the artifact itself")
    try:
        found = digest(path)
    except OSError as error:
        raise ArtifactError(directory, f"{name} cannot be read: {error.strerror}") from error
    if found != expected:
        raise ArtifactError(directory, f"{name} is not the one packed: SHA-256 {found}, expected {expected}")


def _contradiction(artifact: Artifact) -> str | None:
    """What in a well-formed manifest cannot be true, or ``None``."""
    manifest, signature = artifact.manifest, artifact.manifest.signature
    for spec in (signature.input, signature.output):
        if spec.datatype not in DATATYPES:
            return f"signature: {spec.name!r} is {spec.datatype!r}, which an artifact cannot have"
    if len(signature.output.shape) != 2:
        return f"signature: output {signature.output.name!r} is not (batch, classes)"
    classes = signature.output.shape[1]
    if len(manifest.labels) != classes:
        return f"{len(manifest.labels)} labels for {classes} classes"
    return _not_an_image_model(manifest) or _wrong_gain(manifest) or _wrong_vectors(artifact)


def _not_an_image_model(manifest: Manifest) -> str | None:
    """What in the signature contradicts a preprocessing that yields pixels, or ``None``."""
    image, spec = manifest.preprocessing, manifest.signature.input
    if not isinstance(image, ImageInput):
        return None
    shape = (1, image.size, image.size, 3)
    if spec.datatype == "UINT8" and spec.fits(shape):
        return None
    return f"preprocessing yields UINT8 {list(shape)}, the model takes {spec.datatype} {list(spec.shape)}"


def _wrong_gain(manifest: Manifest) -> str | None:
    """What in a learned score does not go with these classes, or ``None``."""
    learned = manifest.gate.score if manifest.gate else None
    if not isinstance(learned, Gain):
        return None
    for model in (learned.helps, learned.spoils):
        if model and len(model.bias) != len(manifest.labels):
            return f"gate: score gain has {len(model.bias)} biases for {len(manifest.labels)} classes"
    return None


def _wrong_vectors(artifact: Artifact) -> str | None:
    """What makes the golden vectors no proof of this signature, or ``None``."""
    inputs, logits = artifact.vectors
    spec, classes = artifact.manifest.signature.input, len(artifact.manifest.labels)
    if not inputs.size:
        return f"{VECTORS} holds no golden vectors"
    if (
        inputs.dtype == DTYPES[spec.datatype]
        and spec.fits((1, *inputs.shape[1:]))
        and logits.shape == (*inputs.shape[:1], classes)
    ):
        return None
    found = f"{inputs.dtype} {inputs.shape} -> {logits.shape}"
    return f"{VECTORS} holds {found}, which is not the signature's"
