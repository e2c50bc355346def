"""What both models say of the same encoded images, kept in a file."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.demo.photos.build import Pair
from protos import artifact, image
from protos.artifact import ImageInput


@dataclass(frozen=True)
class Bank:
    """Logits (n, classes) of edge and cloud, true classes (n,), bytes of each image as it travels (n,)."""

    edge: NDArray[np.float32]
    cloud: NDArray[np.float32]
    labels: NDArray[np.int64]
    bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64] | slice) -> "Bank":
        return Bank(self.edge[rows], self.cloud[rows], self.labels[rows], self.bytes[rows])

    @property
    def edge_right(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self.edge.argmax(1) == self.labels
        return right

    @property
    def cloud_right(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self.cloud.argmax(1) == self.labels
        return right


def kept(path: Path, make: Callable[[], Bank]) -> Bank:
    """The bank in `path`, made if it is not there."""
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, edge=made.edge, cloud=made.cloud, labels=made.labels, bytes=made.bytes)
    with np.load(path) as stored:
        return Bank(stored["edge"], stored["cloud"], stored["labels"], stored["bytes"])


def ask(pair: Pair, encoded: Sequence[bytes], labels: NDArray[np.int64]) -> Bank:
    """Both models on the decoded payload, each with its own preprocessing."""
    edge, cloud = (_asked(folder, encoded) for folder in pair)
    return Bank(edge, cloud, labels, np.array([len(one) for one in encoded]))


def logits(model: Path, inputs: Iterable[NDArray[np.generic]]) -> NDArray[np.float32]:
    """(n, classes) of inputs one at a time, as a node runs them."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[np.newaxis]})[0] for row in inputs])


def _asked(folder: Path, encoded: Sequence[bytes]) -> NDArray[np.float32]:
    found = artifact.load(folder)
    spec = found.manifest.preprocessing
    if not isinstance(spec, ImageInput):
        raise TypeError(f"{folder} is no model of images")
    return logits(found.model, (image.decode(one, spec) for one in encoded))
