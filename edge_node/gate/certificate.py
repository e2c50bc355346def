"""What is promised of an edge and a cloud model together, and for which files the promise holds.

``certificate.json`` in the edge artifact, made by ``edge-node prepare certify``. What it promises,
and what it does not: docs/certificate.md.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protos.artifact import Artifact, ArtifactError, CloudModel, Digest, Part, preprocessing_id
from protos.score import ScoreSpec

CERTIFICATE = "certificate.json"

Promise = Literal["drop", "harm", "disagreement", "selective"]
Method = Literal["betting", "binomial"]
Codec = Literal["captured", "png", "tensor"]
Share = Annotated[float, Meta(ge=0, le=1)]


class Binding(Part, frozen=True, kw_only=True):
    """The files and forms that a certificate holds for, and no others."""

    edge: Digest
    """SHA-256 of the edge's ONNX file."""
    cloud: CloudModel
    preprocessing: Digest
    """SHA-256 of how the edge makes a sample its input."""
    cloud_preprocessing: Digest
    codec: Codec
    """What travelled: images as they were captured, pixels as PNG, or the tensor itself."""


class Point(Part, frozen=True, kw_only=True):
    """A threshold and what was certified of it."""

    epsilon: Share
    delta: Share
    """Probability that the draw of samples misled this point; the certificate's covers all together."""
    threshold: float
    offload: Share
    """Share of the CERT samples that it defers."""
    bytes: Share
    """Their share of the payload bytes of all."""
    q0: Share
    """The edge's kept answers differ from the cloud's in at most this share, with 99 % confidence."""


class Step(Part, frozen=True, kw_only=True):
    """One test of the sequence, of "the risk at this threshold is above epsilon"."""

    threshold: float
    kept: int
    bad: int
    """Kept samples that count against it."""
    good: int = 0
    """Kept samples that count for it: where edge alone is right, for ``drop``."""
    p_value: Share


class Certificate(Part, frozen=True, kw_only=True):
    """A promise, the evidence for it, and what it is bound to."""

    schema: Literal["tidegate.certificate/1"] = "tidegate.certificate/1"
    verdict: str
    """The promise in a sentence, for a person."""
    warnings: tuple[str, ...] = ()
    promise: Promise
    epsilon: Share
    delta: Share
    """Probability, over the draw of the CERT samples, that any of the points is wrong."""
    unserved: Share = 0.0
    """Share of inputs whose deferral may stay unanswered: already paid for out of epsilon."""
    method: Method
    unit: Literal["sample", "group"] = "sample"
    """What counts as one independent piece of evidence."""
    score: ScoreSpec
    temperature: float
    threshold: float
    """Keep where score >= threshold."""
    grid: tuple[float, ...]
    """Thresholds in the order of the tests, fixed before CERT was looked at."""
    quantiles: tuple[float, ...]
    """Of the score on TUNE, at 0, 1/256, ..., 1: how sure a score is among others."""
    steps: tuple[Step, ...]
    """Tests that were made for ``epsilon``; the last may be the one that failed."""
    tune: int
    n: int
    """CERT samples."""
    groups: int | None = None
    """CERT groups; none: the user named none."""
    design_effect: float | None = None
    """By how much groups inflate the variance of the loss at the threshold; 1: they do not matter."""
    unusable: int = 0
    """CERT samples with NaN or infinite logits: always deferred."""
    ties: Share
    """Share of CERT samples whose score is the threshold itself."""
    seed: int
    """Of the split and of the order in which CERT was read."""
    offload: Share
    bytes: Share
    """Share of the cloud-only payload bytes that is sent."""
    payload: float | None = None
    """Mean payload of a sample, bytes."""
    q0: Share
    edge_accuracy: Share | None = None
    cloud_accuracy: Share | None = None
    mean_gain: float | None = None
    """Mean of cloud right - edge right among deferred CERT samples: what an unanswered deferral costs."""
    stricter: tuple[Point, ...] = ()
    """Further points that hold together with this one; loosest first."""
    binding: Binding | None = None
    """None: of arrays, not of artifacts."""
    cert_sha256: Digest
    """Of the CERT samples and their labels."""
    made_at: datetime | None = None

    @property
    def point(self) -> Point:
        """The threshold in force."""
        return Point(
            epsilon=self.epsilon,
            delta=self.delta,
            threshold=self.threshold,
            offload=self.offload,
            bytes=self.bytes,
            q0=self.q0,
        )


def load(artifact: Artifact) -> Certificate | None:
    """The certificate of an artifact, or none; ``ArtifactError`` if it is not a sound one."""
    if CERTIFICATE not in artifact.manifest.files:
        return None
    try:
        return msgspec.json.decode((artifact.directory / CERTIFICATE).read_bytes(), type=Certificate)
    except (OSError, msgspec.DecodeError) as error:
        raise ArtifactError(artifact.directory, f"{CERTIFICATE}: {error}") from error


def encode(certificate: Certificate) -> bytes:
    """Indented JSON, the same bytes for the same certificate."""
    return msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n"


def verify(certificate: Certificate, artifact: Artifact) -> str | None:
    """Why the certificate does not hold for this artifact, or ``None``."""
    bound, manifest = certificate.binding, artifact.manifest
    if bound is None:
        return "the certificate is bound to no model"
    if bound.edge != artifact.sha256:
        return f"the certificate is for edge model {bound.edge[:12]}, this is {artifact.sha256[:12]}"
    if bound.cloud != manifest.cloud:
        found = manifest.cloud.sha256[:12] if manifest.cloud else "none"
        return f"the certificate is for cloud model {bound.cloud.sha256[:12]}, the artifact names {found}"
    if bound.preprocessing != preprocessing_id(manifest):
        return "the certificate is for another preprocessing than the artifact's"
    gate = manifest.gate
    certified = (certificate.score, certificate.temperature, certificate.threshold)
    if gate is None or (gate.score, gate.temperature, gate.threshold) != certified:
        return "the artifact's gate is not the certified one"
    return None
