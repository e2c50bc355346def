"""The two networks of the Fashion-MNIST pair, trained once and packed as artifacts; needs torch."""

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from deploy.demo.photos.build import Pair, tune
from edge_node.prepare.data import Samples
from edge_node.prepare.pack import Facts, pack
from edge_node.prepare.quantize import quantize
from protos import artifact
from protos.artifact import CloudModel, Gate
from tests.benchmarks import qat_tasks
from tests.benchmarks.certificate import fashion
from tests.benchmarks.certificate.bank import logits

EDGE_EPOCHS, CLOUD_EPOCHS = 12, 8
MAX_DROP = 0.01
GOLDEN = 200


def artifacts(cache: Path) -> Pair:
    """The pair, trained into `cache` if it is not there: a quarter of an hour of one core."""
    pair = Pair(cache / "fashion" / "edge", cache / "fashion" / "cloud")
    if not (pair.edge / artifact.MANIFEST).exists():
        torch.set_num_threads(1)  # with more, sums and so models would depend on the machine's cores
        pair.edge.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as scratch:
            _build(pair, Path(scratch))
    return pair


def _build(pair: Pair, scratch: Path) -> None:
    parts = fashion.load()
    pixels, labels = fashion.colour(parts.ranges.pixels), parts.ranges.labels
    cloud_model, float_model, edge_model = (scratch / f"{name}.onnx" for name in ("cloud", "float", "edge"))
    cloud_size = _trained(cloud, CLOUD_EPOCHS, 0.004, parts.training, cloud_model)
    edge_size = _trained(edge, EDGE_EPOCHS, 0.02, parts.training, float_model)
    quantized = quantize(float_model, Samples(pixels, labels), max_drop=MAX_DROP, method="static")
    edge_model.write_bytes(quantized.model.SerializeToString(deterministic=True))
    edge_logits, cloud_logits = logits(edge_model, pixels), logits(cloud_model, pixels)
    temperature, threshold = tune(edge_logits, labels)
    accuracy = {
        name: float((given.argmax(1) == labels).mean())
        for name, given in (("edge", edge_logits), ("cloud", cloud_logits))
    }
    packed = pack(
        pair.cloud,
        cloud_model,
        Facts(
            name="fashion-cloud",
            precision="fp32",
            labels=fashion.LABELS,
            preprocessing=fashion.PREPROCESSING,
        ),
        pixels[:GOLDEN],
        {"parameters": cloud_size, "accuracy": accuracy},
    )
    facts = Facts(
        name="fashion-edge",
        precision=quantized.precision,
        labels=fashion.LABELS,
        preprocessing=fashion.PREPROCESSING,
        gate=Gate(temperature=temperature, threshold=threshold),
        cloud=CloudModel(name="fashion-cloud", sha256=packed.sha256),
    )
    pack(pair.edge, edge_model, facts, pixels[:GOLDEN], {**quantized.report, "parameters": edge_size})


def _trained(
    make: Callable[[], nn.Module], epochs: int, rate: float, images: fashion.Images, path: Path
) -> int:
    """Write the trained network to `path`; its number of parameters."""
    task = replace(
        qat_tasks.fashion(), make=make, epochs=epochs, rate=rate, batches=_batches(images), smoothing=0.05
    )
    network = task.fit(seed=0)
    batch = {0: "batch"}
    with redirect_stdout(io.StringIO()):
        torch.onnx.export(
            nn.Sequential(Pixels(), network).eval(),
            (torch.zeros(1, 28, 28, 3, dtype=torch.uint8),),
            str(path),
            input_names=["pixels"],
            output_names=["logits"],
            dynamic_axes={"pixels": batch, "logits": batch},
            opset_version=17,
            dynamo=False,
        )
    return sum(parameter.numel() for parameter in network.parameters())


def _batches(images: fashion.Images) -> qat_tasks.Batches:
    """Batches of 128 in random order, half of them mirrored, each moved by up to a pixel."""
    inputs = qat_tasks.normalised(images.pixels[:, np.newaxis])
    padded = torch.nn.functional.pad(torch.from_numpy(inputs), (1, 1, 1, 1), value=float(inputs.min()))
    classes = torch.from_numpy(images.labels)

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        random = torch.Generator().manual_seed(seed)
        for rows in torch.randperm(len(classes), generator=random).split(128):
            down, right, mirrored = (int(torch.randint(0, n, (), generator=random)) for n in (3, 3, 2))
            cut = padded[rows][:, :, down : down + 28, right : right + 28]
            yield (cut.flip(3) if mirrored else cut), classes[rows]

    return batches


class Pixels(nn.Module):
    """uint8 (batch, 28, 28, 3) -> what the networks were trained on, (batch, 1, 28, 28)."""

    def forward(self, pixels: Tensor) -> Tensor:
        grey = pixels[..., :1].permute(0, 3, 1, 2).float()
        return (grey / 255 - qat_tasks.MEAN) / qat_tasks.DEVIATION


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*qat_tasks.convolution(width, width), *qat_tasks.convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def edge() -> nn.Module:
    """Four convolutions and a mean."""
    return nn.Sequential(
        *qat_tasks.convolution(1, 8, 3, 2),
        *qat_tasks.convolution(8, 16),
        *qat_tasks.convolution(16, 16, 3, 2),
        *qat_tasks.convolution(16, 24),
        qat_tasks.Mean(),
        nn.Linear(24, 10),
    )


def cloud() -> nn.Module:
    """A small residual network."""
    return nn.Sequential(
        *qat_tasks.convolution(1, 24),
        *qat_tasks.convolution(24, 48, 3, 2),
        Residual(48),
        *qat_tasks.convolution(48, 96, 3, 2),
        Residual(96),
        qat_tasks.Mean(),
        nn.Linear(96, 10),
    )
