"""Tiny networks and data to train them on; imports torch, so only after ``importorskip``."""

import copy
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

torch.set_num_threads(1)  # so little work only loses by being shared


class Residual(nn.Module):
    """Depthwise and pointwise convolutions beside a shortcut, ReLU6, max pooling: what a MobileNet has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.deep = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
        self.deep_norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 8, 1)
        self.wide_norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(32, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.wide_norm(self.wide(functional.relu(self.deep_norm(self.deep(x)))))
        logits: Tensor = self.head(self.pool(torch.relu(x + y)))
        return logits


class Wave(nn.Module):
    """Convolutions over time of float16 samples, joined by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv1d(2, 6, 5, 2, 2), nn.BatchNorm1d(6), nn.ReLU())
        self.right = nn.Sequential(nn.Conv1d(2, 6, 3, 2, 1, bias=False), nn.BatchNorm1d(6), nn.ReLU())
        self.join = nn.Sequential(nn.Conv1d(12, 8, 3), nn.Hardswish())
        self.head = nn.Linear(8, 3)

    def forward(self, signal: Tensor) -> Tensor:
        x = signal.float().transpose(1, 2)
        x = self.join(torch.cat([self.left(x), self.right(x)], 1))
        logits: Tensor = self.head(x.mean(-1))
        return logits


class Dense(nn.Module):
    """Linear layers only, one of them with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


SHAPES = {Residual: (1, 8, 8), Wave: (16, 2), Dense: (4,)}


def samples(net: type[nn.Module], count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise around one pattern a class, in the dtype and shape that ``net`` takes; and the classes."""
    shape = SHAPES[net]
    patterns = np.random.default_rng(7).normal(size=(3, *shape))
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, count)
    inputs = patterns[classes] + random.normal(size=(count, *shape))
    return inputs.astype(np.float16 if net is Wave else np.float32), classes


def batches(net: type[nn.Module], count: int = 6) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches of one epoch."""
    for seed in range(1, count + 1):
        inputs, classes = samples(net, 64, seed)
        yield torch.as_tensor(inputs), torch.as_tensor(classes)


def trained(net: type[nn.Module]) -> nn.Module:
    """A float network that knows the patterns, all yours."""
    return copy.deepcopy(_trained(net.__name__))


@cache
def _trained(name: str) -> nn.Module:
    net: type[nn.Module] = next(it for it in SHAPES if it.__name__ == name)
    torch.manual_seed(0)
    model = net().train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(4):
        for inputs, classes in batches(net):
            optimiser.zero_grad()
            functional.cross_entropy(model(inputs), classes).backward()
            optimiser.step()
    optimiser.zero_grad()
    return model.eval()
