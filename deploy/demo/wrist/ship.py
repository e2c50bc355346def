"""From two trained networks to two artifacts, with the figures of both."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from deploy.demo.wrist import data, measure
from deploy.demo.wrist.data import LABELS, Recording
from deploy.demo.wrist.measure import Logits, rounded, softmax
from deploy.demo.wrist.nets import parameters
from edge_node.prepare.pack import Facts, pack
from protos.artifact import CloudModel, Gate

HERE = Path(__file__).parent
WITHIN = 0.01
"""The gate's threshold is the lowest whose hybrid, out of fold, loses no more than this to the cloud."""
RANGES = 300
"""Windows for range calibration, of the training subjects and all classes."""

Truth = NDArray[np.int64]


@dataclass(frozen=True)
class Tuning:
    """Out-of-fold logits of the training subjects: what temperature and threshold are chosen on."""

    truth: Truth
    edge: Logits
    cloud: Logits

    def temperature(self) -> float:
        """The one under which the edge's probabilities are likeliest (Guo 2017)."""
        grid = np.geomspace(0.2, 5, 321)
        return float(grid[np.argmin([_loss(self.edge / it, self.truth) for it in grid])])

    def gate(self) -> tuple[Gate, dict[str, float]]:
        """The gate, and what it does out of fold."""
        temperature = self.temperature()
        confidence = softmax(self.edge / temperature).max(1)
        edge, cloud = (logits.argmax(1) == self.truth for logits in (self.edge, self.cloud))
        for threshold in np.linspace(0, 1, 1001):
            deferred = confidence < threshold
            hybrid = np.where(deferred, cloud, edge).mean()
            if hybrid >= cloud.mean() - WITHIN:
                break
        figures = {"edge": edge.mean(), "hybrid": hybrid, "cloud": cloud.mean(), "deferred": deferred.mean()}
        return Gate(temperature=round(temperature, 4), threshold=round(float(threshold), 4)), rounded(figures)


def write(
    edge: nn.Module, cloud: nn.Module, training: list[Recording], tuning: Tuning, about: dict[str, Any]
) -> None:
    """Export, quantise, measure on the held-out subjects, and pack both; ``about`` opens the report."""
    gate, out_of_fold = tuning.gate()
    samples = in_turn(*data.windows(training))
    with TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in ("edge-fp32", "edge-int8", "cloud")}
        export(edge, paths["edge-fp32"])
        export(cloud, paths["cloud"])
        quantise(paths["edge-fp32"], paths["edge-int8"], samples[:RANGES])
        report = {
            **about,
            "parameters": {"edge": parameters(edge), "cloud": parameters(cloud)},
            "bytes": {name: path.stat().st_size for name, path in paths.items()},
            "gate": {
                "rule": f"lowest threshold within {WITHIN:.0%} of the cloud; fp32, out of fold",
                **out_of_fold,
            },
            "held out": measure.held_out(paths, gate),
        }
        packed = pack(
            HERE / "cloud",
            paths["cloud"],
            Facts(name="wrist-cloud", precision="fp32", labels=LABELS),
            samples,
            report,
        )
        named = CloudModel(name="wrist-cloud", sha256=packed.sha256)
        facts = Facts(name="wrist-edge", precision="int8", labels=LABELS, gate=gate, cloud=named)
        pack(HERE / "edge", paths["edge-int8"], facts, samples, report)


def in_turn(samples: NDArray[np.float16], labels: Truth) -> NDArray[np.float16]:
    """In random order, but the classes one after the other: the first few samples show all of them."""
    order = np.random.default_rng(0).permutation(len(labels))
    ranks = np.zeros(len(labels), int)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        ranks[own] = np.arange(len(own))
    return samples[np.lexsort((labels, ranks))]


def export(network: nn.Module, path: Path) -> None:
    """ONNX from float16 windows, a batch of any size, to logits."""
    torch.onnx.export(
        network,
        (torch.zeros(1, data.WINDOW, 6, dtype=torch.float16),),
        path,
        input_names=["window"],
        output_names=["logits"],
        dynamic_axes={"window": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


def quantise(source: Path, target: Path, samples: NDArray[np.float16]) -> None:
    """Static int8: weights by channel, activations by measured range; the logits stay fp32: int8 ties."""
    prepared = source.with_suffix(".prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        _Ranges(samples),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
    )


class _Ranges(CalibrationDataReader):
    """Windows one by one, as onnxruntime asks for them."""

    def __init__(self, samples: NDArray[np.float16]) -> None:
        self._rows = iter(samples)

    def get_next(self) -> dict[str, NDArray[np.float16]] | None:
        row = next(self._rows, None)
        return None if row is None else {"window": row[np.newaxis]}


def _loss(logits: Logits, truth: Truth) -> float:
    return float(-np.log(softmax(logits)[np.arange(len(truth)), truth] + 1e-12).mean())
