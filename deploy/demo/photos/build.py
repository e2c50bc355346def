"""The two photo artifacts, built on first use and kept."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deploy.demo.errors import DemoError
from deploy.demo.photos import efficientnet
from deploy.demo.photos.efficientnet import LITE0, LITE2, Lite
from edge_node.prepare.pack import Facts, pack
from protos import artifact, image
from protos.artifact import CloudModel, Gate, Precision

OFFLOADED = 0.2
"""Share of the tuning photos that the edge may hand on: the threshold follows from it."""
MAX_DROP = 0.05
"""Accuracy that int8 may lose, as a share: what so few photos can show."""
_TEMPERATURES = np.geomspace(0.25, 4.0, 81)

Logits = NDArray[np.float32]
Classes = NDArray[np.int64]


class Pair(NamedTuple):
    """Artifacts that belong together."""

    edge: Path
    cloud: Path


def artifacts(
    cache: Path, tuning: Sequence[Path], truth: Mapping[str, int] | None, say: Callable[[str], None]
) -> Pair:
    """The artifacts tuned on these photos, kept in `cache`; without truth the cloud is right."""
    folder = cache / f"photos-{_key(tuning, truth)}"
    pair = Pair(folder / "edge", folder / "cloud")
    if not (pair.edge / artifact.MANIFEST).exists():
        say(f"building EfficientNet-Lite0 int8 and Lite2 fp32 in {folder}, once: about a minute")
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as scratch:
            _build(pair, Path(scratch), tuning, truth)
    return pair


def _key(tuning: Sequence[Path], truth: Mapping[str, int] | None) -> str:
    """Changes with anything that the artifacts are made from."""
    digest = hashlib.sha256()
    for photo in tuning:
        digest.update(photo.read_bytes())
        digest.update(str(truth and truth[photo.name]).encode())
    return digest.hexdigest()[:12]


def _build(pair: Pair, scratch: Path, tuning: Sequence[Path], truth: Mapping[str, int] | None) -> None:
    cloud_pixels, edge_pixels = (_pixels(tuning, lite) for lite in (LITE2, LITE0))
    efficientnet.require()
    labels = efficientnet.labels()
    cloud_model, float_model, edge_model = (scratch / f"{name}.onnx" for name in ("cloud", "float", "edge"))
    efficientnet.export(LITE2, cloud_model)
    efficientnet.export(LITE0, float_model)
    cloud_logits = _logits(cloud_model, cloud_pixels)
    right = np.array([truth[photo.name] for photo in tuning]) if truth else cloud_logits.argmax(1)
    precision, measured = _quantize(float_model, edge_model, edge_pixels, right)
    temperature, threshold = tune(_logits(edge_model, edge_pixels), right)
    tuned = {"photos": len(tuning), "right is": "the label" if truth else "the cloud's answer"}
    cloud = pack(
        pair.cloud,
        cloud_model,
        Facts(name=LITE2.name, precision="fp32", labels=labels, preprocessing=LITE2.preprocessing),
        cloud_pixels,
        {"tuning": tuned, "accuracy": _share(cloud_logits, right)},
    )
    facts = Facts(
        name=f"{LITE0.name}-{precision}",
        precision=precision,
        labels=labels,
        preprocessing=LITE0.preprocessing,
        gate=Gate(temperature=temperature, threshold=threshold),
        cloud=CloudModel(name=LITE2.name, sha256=cloud.sha256),
    )
    report = {**measured, "tuning": {**tuned, "offloaded": OFFLOADED}}
    pack(pair.edge, edge_model, facts, edge_pixels, report)


def _pixels(photos: Sequence[Path], lite: Lite) -> NDArray[np.uint8]:
    """(n, size, size, 3), decoded as both sides decode."""
    try:
        return np.stack([image.decode(photo.read_bytes(), lite.preprocessing) for photo in photos])
    except (OSError, image.ImageError) as error:
        raise DemoError(f"a photo in --images cannot be read: {error}") from error


def _quantize(
    source: Path, target: Path, pixels: NDArray[np.uint8], right: Classes
) -> tuple[Precision, Mapping[str, Any]]:
    """Write the best static int8 variant, or fp32 if none keeps the budget; its precision and report."""
    from edge_node.prepare.data import Samples
    from edge_node.prepare.errors import PrepareError
    from edge_node.prepare.quantize import quantize

    try:
        quantized = quantize(source, Samples(pixels, right), max_drop=MAX_DROP, method="static")
    except PrepareError as error:
        raise DemoError(f"EfficientNet-Lite0 cannot be quantised on these photos: {error}") from error
    target.write_bytes(quantized.model.SerializeToString(deterministic=True))
    return quantized.precision, quantized.report


def _logits(model: Path, pixels: NDArray[np.uint8]) -> Logits:
    import onnxruntime as ort

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"pixels": row[np.newaxis]})[0] for row in pixels])


def _share(logits: Logits, right: Classes) -> float:
    return float((logits.argmax(1) == right).mean())


def tune(logits: Logits, right: Classes) -> tuple[float, float]:
    """(temperature of the least negative log likelihood, threshold that hands on the least sure)."""
    losses = [
        -np.log(_softmax(logits, float(t))[np.arange(len(right)), right] + 1e-12).mean()
        for t in _TEMPERATURES
    ]
    temperature = float(_TEMPERATURES[int(np.argmin(losses))])
    threshold = float(np.quantile(_softmax(logits, temperature).max(1), OFFLOADED))
    return temperature, threshold


def _softmax(logits: Logits, temperature: float) -> NDArray[np.float64]:
    scaled = (logits - logits.max(1, keepdims=True)).astype(np.float64) / temperature
    exponents = np.exp(scaled)
    shares: NDArray[np.float64] = exponents / exponents.sum(1, keepdims=True)
    return shares
