"""What both models say of the same samples: the cloud of what comes out of the wire."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node import preprocess
from edge_node.errors import SampleError
from edge_node.gate.certificate import Binding
from edge_node.model import EdgeModel
from edge_node.prepare.certify.evidence import Evidence
from edge_node.prepare.data import Samples
from edge_node.prepare.errors import DataError, PrepareError
from edge_node.prepare.progress import counted
from edge_node.sample import Sample
from protos import codec, image
from protos import inference_pb2 as pb
from protos.artifact import Artifact, CloudModel, ImageInput, preprocessing_id
from protos.codec import Tensor

Prints = NDArray[np.uint64]

COPIES = 0.01
"""Share of exact copies from which samples cannot pass for independent draws."""


@dataclass(frozen=True)
class Pair:
    """Two models that are to answer for one another."""

    edge: Artifact
    cloud: Artifact

    def check(self) -> None:
        """``PrepareError`` says why they cannot."""
        edge, cloud = self.edge.manifest, self.cloud.manifest
        if edge.labels != cloud.labels:
            raise PrepareError("the edge and the cloud artifact name different classes, or in another order")
        if isinstance(edge.preprocessing, ImageInput) != isinstance(cloud.preprocessing, ImageInput):
            raise PrepareError("one artifact takes images, the other tensors: they share no payload")
        if edge.cloud and edge.cloud.sha256 != self.cloud.sha256:
            raise PrepareError(
                f"the edge artifact is made for cloud model {edge.cloud.sha256[:12]}, "
                f"{self.cloud.directory} holds {self.cloud.sha256[:12]}"
            )

    def binding(self, inputs: Tensor) -> Binding:
        """What a certificate of this pair and of samples in this form holds for."""
        return Binding(
            edge=self.edge.sha256,
            cloud=CloudModel(name=self.cloud.manifest.name, sha256=self.cloud.sha256),
            preprocessing=preprocessing_id(self.edge.manifest),
            cloud_preprocessing=preprocessing_id(self.cloud.manifest),
            codec=preprocess.codec_of(self.edge.manifest, encoded=inputs.dtype.hasobject),
        )


def observe(pair: Pair, samples: Samples, groups: NDArray[np.int64] | None = None) -> tuple[Evidence, Prints]:
    """Run both models on every sample, fingerprint each; ``DataError`` says which cannot be used."""
    rows = list(_rows(pair, samples.inputs))
    prints = np.array([row.print for row in rows], dtype=np.uint64)
    copies = len(prints) - len(np.unique(prints))
    if groups is None and copies > COPIES * len(prints):
        raise DataError(
            f"{copies} of {len(prints)} samples are exact copies of others, which proves nothing new: "
            "remove them, or say with --groups what belongs together"
        )
    evidence = Evidence(
        np.stack([row.logits for row in rows]),
        np.array([row.cloud for row in rows]),
        samples.labels,
        groups,
        np.array([row.size for row in rows]),
    )
    return evidence, prints


@dataclass(frozen=True)
class _Row:
    logits: NDArray[np.float32]
    cloud: int
    size: int
    print: int


def _rows(pair: Pair, inputs: Tensor) -> Iterator[_Row]:
    edge, cloud = EdgeModel(pair.edge), EdgeModel(pair.cloud)
    manifest = pair.edge.manifest
    prepare = preprocess.for_manifest(manifest)
    for number, data in enumerate(counted(list(inputs), "asking both models")):
        sample = Sample(str(number), data)
        try:
            tensor = prepare(sample)
            raw, arrived = _over_the_wire(pair, preprocess.payload(sample, tensor, manifest))
            answer = cloud.predict(arrived)
            logits = edge.predict(tensor)
        except (SampleError, image.ImageError) as error:
            raise DataError(f"sample {number}: {error}") from error
        if not np.isfinite(answer).all():
            raise DataError(f"sample {number}: the cloud model gives NaN or infinite logits")
        digest = hashlib.blake2b(raw, digest_size=8).digest()
        yield _Row(logits, int(answer.argmax()), len(raw), int.from_bytes(digest))


def _over_the_wire(pair: Pair, payload: Tensor) -> tuple[bytes, Tensor]:
    """The bytes that travel, and the input which the cloud model makes of them."""
    spec, how = pair.cloud.manifest.signature.input, pair.cloud.manifest.preprocessing
    request = codec.request(pair.cloud.manifest.name, {spec.name: payload})
    received = pb.ModelInferRequest.FromString(request.SerializeToString())
    arrived = codec.request_tensors(received)[spec.name][0]
    if isinstance(how, ImageInput):
        arrived = image.decode(arrived, how)
    if codec.datatype(arrived.dtype) != spec.datatype or not spec.fits((1, *arrived.shape)):
        raise SampleError(
            f"{arrived.dtype} {list(arrived.shape)} arrives, the cloud model takes {spec.datatype} "
            f"{list(spec.shape[1:])}"
        )
    return received.raw_input_contents[0], arrived
