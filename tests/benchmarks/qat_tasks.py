"""What ``qat_report`` trains: real data, small networks, and the usual way to train them."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from deploy.demo.wrist import data
from deploy.demo.wrist.fit import BATCH, SMOOTHING, Pool
from deploy.demo.wrist.nets import EdgeNet, Normalise, parameters
from deploy.demo.wrist.train import download
from edge_node.prepare.qat.api import Quantization, Training

FASHION = Path("/usr/share/datasets/fashion-mnist")
MEAN, DEVIATION = 0.286, 0.353
"""Of the pixels of Fashion-MNIST's training images, as shares of 255."""
CALIBRATION = 512

Array = NDArray[Any]
Batches = Callable[[int], Iterator[tuple[Tensor, Tensor]]]
"""Batches of one epoch: the same for the same seed, others for each call of one training."""


@dataclass(frozen=True)
class Task:
    """One network on one data set."""

    name: str
    about: str
    make: Callable[[], nn.Module]
    epochs: int
    rate: float
    """Highest learning rate of the float training."""
    batches: Batches
    calibration: Array
    inputs: Array
    """Of the test samples."""
    labels: Array
    quantization: Quantization
    training: Training
    smoothing: float = 0.0
    """Of the labels, in every training of the task."""

    def fit(self, seed: int) -> nn.Module:
        """The float network, in evaluation: AdamW under one cycle of the learning rate."""
        torch.manual_seed(seed)
        network = self.make()
        optimiser = torch.optim.AdamW(network.parameters(), self.rate)
        steps = self.epochs * sum(1 for _ in self.batches(0))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.rate, total_steps=steps)
        for epoch in range(self.epochs):
            for batch in self.batches(1000 * seed + epoch):
                optimiser.zero_grad()
                self.step(network, batch).backward()
                optimiser.step()
                schedule.step()
        return network.eval()

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch: one training step for the float network and the prepared one."""
        inputs, classes = batch
        return functional.cross_entropy(model(inputs), classes, label_smoothing=self.smoothing)


def motion() -> Task:
    """The demo's edge network: ten people, three of them held out."""
    people = download()
    own = [it for who, recordings in people.items() if who not in data.HELD_OUT for it in recordings]
    held_out = data.windows([it for who in data.HELD_OUT for it in people[who]])
    windows, _ = data.windows(own)
    pool = Pool.of(own)

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        random = torch.Generator().manual_seed(seed)
        return (pool.draw(random) for _ in range(pool.windows // BATCH))

    return Task(
        name="Motion",
        about=f"wrist motion, {len(held_out[1])} windows of three people whom no training saw; the demo's "
        f"edge network (three convolutions, {parameters(EdgeNet()):,} parameters); weights by channel",
        make=lambda: nn.Sequential(Normalise(pool.signal.mean(0), pool.signal.std(0)), EdgeNet()),
        epochs=60,
        rate=1e-2,
        batches=batches,
        calibration=windows[:: len(windows) // CALIBRATION].astype(np.float32),
        inputs=held_out[0].astype(np.float32),
        labels=held_out[1],
        quantization=Quantization(),
        training=Training(),
        smoothing=SMOOTHING,
    )


def fashion() -> Task:
    """Ordinary convolutions, weights by channel: what quantises well."""
    return _fashion(
        "Fashion-MNIST, plain",
        "four convolutions, 16,218 parameters; weights by channel",
        _plain,
        Quantization(),
        rate=0.01,
    )


def depthwise() -> Task:
    """Nine depthwise layers in a row, one scale for all channels: what quantises badly."""
    return _fashion(
        "Fashion-MNIST, depthwise per tensor",
        "nine depthwise-separable blocks, 4,218 parameters, trained with a high learning rate; one scale for "
        "a whole weight tensor, as runtimes without scales by channel need it; chosen because PTQ often "
        "fails on it",
        _depthwise,
        Quantization(weights="per_tensor"),
        rate=0.03,
    )


TASKS: dict[str, Callable[[], Task]] = {"motion": motion, "fashion": fashion, "depthwise": depthwise}


def _fashion(
    name: str, about: str, make: Callable[[], nn.Module], quantization: Quantization, rate: float
) -> Task:
    images, classes = (torch.from_numpy(it) for it in _read("train"))
    inputs, labels = _read("t10k")

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        return ((images[rows], classes[rows]) for rows in order.split(128))

    return Task(
        name=name,
        about=f"the 10,000 test images; {about}",
        make=make,
        epochs=3,
        rate=rate,
        batches=batches,
        calibration=images[:CALIBRATION].numpy(),
        inputs=inputs,
        labels=labels,
        quantization=quantization,
        training=Training(epochs=3, learning_rate=1e-3, batch_norm_epochs=1, range_epochs=2),
    )


def _read(part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images (n, 1, 28, 28) and their classes, from the IDX files of Debian's package."""
    if not FASHION.exists():
        raise SystemExit(f"no {FASHION}: apt-get install dataset-fashion-mnist")
    pixels = gzip.decompress((FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
    classes = gzip.decompress((FASHION / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
    images = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28)
    return normalised(images), np.frombuffer(classes, np.uint8).astype(np.int64)


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the networks take."""
    scaled = (pixels.astype(np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(DEVIATION)
    return scaled.astype(np.float32)


class Mean(nn.Module):
    """Over the image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _separable(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [*convolution(inputs, inputs, 3, stride, inputs), *convolution(inputs, outputs, 1)]


def _plain() -> nn.Module:
    widths = (1, 16, 24, 24, 32)
    steps = zip(widths, widths[1:], (2, 1, 2, 1), strict=False)
    layers = [it for inputs, outputs, stride in steps for it in convolution(inputs, outputs, 3, stride)]
    return nn.Sequential(*layers, Mean(), nn.Linear(widths[-1], 10))


def _depthwise() -> nn.Module:
    blocks = [it for _ in range(8) for it in _separable(16, 16)]
    return nn.Sequential(*convolution(1, 8, 3, 2), *_separable(8, 16, 2), *blocks, Mean(), nn.Linear(16, 10))
