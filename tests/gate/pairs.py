"""Artifacts of an edge and a cloud model for the same samples; the edge makes less of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_node.prepare.certify.observe import Pair
from edge_node.prepare.data import Samples
from edge_node.prepare.pack import Facts, pack
from protos.artifact import Artifact, Gate, ImageInput
from tests.models import save

LABELS = ("north", "east", "south", "west")
CLASSES = len(LABELS)


def samples(count: int = 3000, seed: int = 1) -> Samples:
    """Two noisy views of the class each: (count, 8) float32."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, count)
    views = [np.eye(CLASSES)[labels] + noise * draw.normal(size=(count, CLASSES)) for noise in (0.5, 0.4)]
    return Samples(np.hstack(views).astype(np.float32), labels)


def _projection(path: Path, first: float, second: float) -> Path:
    """``x`` (batch, 8) -> ``logits``: the views with these weights."""
    weights = np.vstack([first * np.eye(CLASSES), second * np.eye(CLASSES)]).astype(np.float32)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2 * CLASSES])
    nodes = [helper.make_node("MatMul", ["x", "weights"], ["logits"])]
    return save(path, nodes, [numpy_helper.from_array(weights, "weights")], x, CLASSES)


def tensors(folder: Path, *, first: float = 5.0) -> Pair:
    """The edge sees the first view only; the cloud both."""
    inputs = samples(200, seed=99).inputs
    edge = Facts(name="edge", precision="fp32", labels=LABELS, gate=Gate(threshold=0.8))
    cloud = Facts(name="cloud", precision="fp32", labels=LABELS)
    return Pair(
        pack(folder / "edge", _projection(folder / "edge.onnx", first, 0.0), edge, inputs),
        pack(folder / "cloud", _projection(folder / "cloud.onnx", 8.0, 12.0), cloud, inputs),
    )


def _quadrants(path: Path, size: int, scale: float) -> Path:
    """Pixels UINT8 (batch, size, size, 3) -> logits: how bright each quadrant is."""
    halves = np.arange(size) // (size // 2)
    quadrant = 2 * halves[:, None] + halves[None, :]
    weights = scale * np.eye(CLASSES)[np.repeat(quadrant.ravel(), 3)] / size**2
    nodes = [
        helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", size, size, 3])
    return save(path, nodes, [numpy_helper.from_array(weights.astype(np.float32), "weights")], x, CLASSES)


def photos(folder: Path) -> Pair:
    """The edge sees the middle of a photo, 4 pixels wide, the cloud all of it in 16."""
    pixels = pictures(100, seed=99).inputs
    sides = {"edge": (4, 0.5), "cloud": (16, 1.0)}
    made: dict[str, Artifact] = {}
    for name, (size, crop) in sides.items():
        facts = Facts(
            name=name,
            precision="fp32",
            labels=LABELS,
            preprocessing=ImageInput(size=size, crop=crop),
            gate=Gate(threshold=0.8) if name == "edge" else None,
        )
        step = pixels.shape[1] // size
        small = np.ascontiguousarray(pixels[:, ::step, ::step])
        made[name] = pack(folder / name, _quadrants(folder / f"{name}.onnx", size, 0.3), facts, small)
    return Pair(made["edge"], made["cloud"])


def pictures(count: int, seed: int = 1) -> Samples:
    """Noise, one quadrant brighter: uint8 (count, 32, 32, 3)."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, count)
    bright = np.zeros((count, 32, 32, 3))
    for quadrant in range(CLASSES):
        top, left = 16 * (quadrant // 2), 16 * (quadrant % 2)
        bright[labels == quadrant, top : top + 16, left : left + 16] = 4
    noise: NDArray[np.float64] = draw.normal(110, 40, bright.shape) + draw.normal(0, 2, (count, 32, 1, 3))
    return Samples(np.clip(noise + bright, 0, 255).astype(np.uint8), labels)
