"""Training of one network on windows drawn at random from recordings, ever a little different."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deploy.demo.wrist.data import STRIDE, WINDOW, Recording
from deploy.demo.wrist.nets import MIRROR, Normalise

BATCH = 128
RATE, DECAY = 3e-3, 1e-2
"""Of AdamW, the rate at the top of a one-cycle schedule (Smith 2018)."""
SMOOTHING = 0.1
AVERAGE = 0.99
"""The network returned is the exponential moving average of those on the way."""
SPEED, TURN, SCALE, NOISE = 0.2, 0.15, 0.2, 0.15
"""Augmentation, found by cross-validation: another pace, seat of the watch and strength; noise."""


@dataclass(frozen=True)
class Pool:
    """Recordings end to end, to draw windows from."""

    signal: Tensor
    starts: Tensor
    lengths: Tensor
    labels: Tensor

    @classmethod
    def of(cls, recordings: list[Recording]) -> "Pool":
        lengths = torch.tensor([len(recording.signal) for recording in recordings])
        return cls(
            torch.tensor(np.concatenate([recording.signal for recording in recordings]), dtype=torch.float32),
            torch.cumsum(lengths, 0) - lengths,
            lengths,
            torch.tensor([recording.label for recording in recordings]),
        )

    @property
    def windows(self) -> int:
        """How many samples the recordings hold when cut as on the device."""
        return int(((self.lengths - WINDOW) // STRIDE + 1).sum())

    def draw(self, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented samples (BATCH, 128, 6) and their labels."""
        which = torch.multinomial(self.lengths.float(), BATCH, replacement=True, generator=random)
        pace = torch.exp((torch.rand(BATCH, generator=random) * 2 - 1) * SPEED)
        span = torch.minimum((WINDOW - 1) * pace, (self.lengths[which] - 2).float())
        pace = span / (WINDOW - 1)
        start = torch.rand(BATCH, generator=random) * (self.lengths[which] - 2 - span).clamp(min=0)
        moment = start[:, None] + pace[:, None] * torch.arange(WINDOW)
        before = moment.floor().long()
        share = (moment - before)[..., None]
        index = before + self.starts[which][:, None]
        signal = self.signal[index] * (1 - share) + self.signal[index + 1] * share
        rotation = signal[..., 3:] * pace[:, None, None]  # a slower movement turns more slowly
        return self._vary(torch.cat([signal[..., :3], rotation], -1), random), self.labels[which]

    def _vary(self, signal: Tensor, random: torch.Generator) -> Tensor:
        count = len(signal)
        mirrored = (torch.rand(count, generator=random) < 0.5)[:, None, None]
        signal = torch.where(mirrored, signal * MIRROR, signal)
        turn = _rotations(torch.randn(count, 3, generator=random) * TURN).transpose(1, 2)
        signal = torch.cat([signal[..., :3] @ turn, signal[..., 3:] @ turn], -1)
        strength = torch.exp(torch.randn(count, 1, 2, generator=random) * SCALE).repeat_interleave(3, -1)
        noise = torch.randn(signal.shape, generator=random) * NOISE * self.signal.std(0)
        return signal * strength + noise


def fit(
    make: Callable[[], nn.Module], recordings: list[Recording], epochs: int, seed: int, rate: float = RATE
) -> nn.Module:
    """A network trained on the recordings, in evaluation mode; the same seed gives the same network."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed + 1)
    pool = Pool.of(recordings)
    network = nn.Sequential(Normalise(pool.signal.mean(0), pool.signal.std(0)), make())
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=DECAY)
    steps = math.ceil(epochs * pool.windows / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    for step in range(steps):
        signal, labels = pool.draw(random)
        loss = functional.cross_entropy(network(signal), labels, label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        _follow(average, network, min(AVERAGE, (step + 1) / (step + 10)))
    return average.eval()


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - keep)
        else:
            kept.copy_(new)


def _rotations(axes: Tensor) -> Tensor:
    """Rotation vectors (n, 3) -> matrices (n, 3, 3)."""
    x, y, z = axes.unbind(1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, 1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.matrix_exp(torch.stack(rows, 1))
