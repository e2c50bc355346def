"""Fake quantisation: float tensors that hold only what int8 can, with gradients passed straight through."""

import torch
from torch import Tensor, nn

LEVELS = 255
"""Highest level of uint8 activations; the lowest is 0."""
SMALLEST_SCALE = float(torch.finfo(torch.float32).eps)


class FakeQuant(nn.Module):
    """Activations as uint8 would hold them: per tensor, affine, zero always exact.

    ``ceiling``: no range goes beyond it (that of a ReLU6 is 6, so that uint8 saturates where ReLU6
    does). ``zero_based``: no value is below zero.
    """

    low: Tensor
    high: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, *, learned: bool, momentum: float, zero_based: bool, ceiling: float) -> None:
        super().__init__()
        self.learned, self.momentum, self.ceiling = learned, momentum, ceiling
        self.frozen = False
        self.calibrating = False
        self.register_buffer("low", torch.tensor(float("inf")))
        self.register_buffer("high", torch.tensor(float("-inf")))
        scale, zero_point = torch.ones(1), torch.zeros(1)
        if learned:
            self.scale = nn.Parameter(scale)
            self.zero_point = nn.Parameter(zero_point, requires_grad=not zero_based)
        else:
            self.register_buffer("scale", scale)
            self.register_buffer("zero_point", zero_point.int())

    def forward(self, x: Tensor) -> Tensor:
        if self.calibrating:
            self._widen(x)
            return x
        if self.learned:
            return self._learned(x)
        return self._observed(x)

    def freeze(self) -> None:
        """Keep the range as it is from now on."""
        self.frozen = True
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad=False)

    def qparams(self) -> tuple[Tensor, Tensor]:
        """Scale (float32) and zero point (uint8), both scalars, as the exported graph has them."""
        zero_point = (self.zero_point.detach() + 0.5).floor().clamp(0, LEVELS)
        return self._capped().detach().reshape(()).clone(), zero_point.reshape(()).to(torch.uint8)

    def _widen(self, x: Tensor) -> None:
        """Take ``x`` into the range, which starts the training."""
        low, high = torch.aminmax(x.detach())
        torch.minimum(self.low, low, out=self.low)
        torch.maximum(self.high, high, out=self.high)
        bottom, top = self.low.clamp(max=0), self.high.clamp(min=0)
        scale = ((top - bottom) / LEVELS).clamp(min=SMALLEST_SCALE)
        self.scale.data.fill_(scale)
        self.zero_point.data.fill_((-bottom / scale).round().clamp(0, LEVELS))

    def _observed(self, x: Tensor) -> Tensor:
        moving = torch.tensor([self.training and not self.frozen], dtype=torch.int64)
        return torch.fused_moving_avg_obs_fake_quant(
            x,
            moving,
            torch.ones(1, dtype=torch.int64),
            self.low,
            self.high,
            self.scale,
            self.zero_point,
            self.momentum,
            quant_min=0,
            quant_max=LEVELS,
            ch_axis=0,
        )

    def _learned(self, x: Tensor) -> Tensor:
        """LSQ+: scale and zero point have gradients, damped by the number of values they serve."""
        damping = (x[0].numel() * LEVELS) ** -0.5
        return torch._fake_quantize_learnable_per_tensor_affine(  # noqa: SLF001 - public ones learn no scale
            x, self._capped(), self.zero_point, 0, LEVELS, damping
        )

    def _capped(self) -> Tensor:
        return self.scale.clamp(SMALLEST_SCALE, self.ceiling / LEVELS)


class WeightQuant(nn.Module):
    """Weights as int8 would hold them: symmetric, by output channel (axis 0) or the whole tensor."""

    def __init__(self, *, per_channel: bool, reduce_range: bool) -> None:
        super().__init__()
        self.per_channel = per_channel
        self.top = 63 if reduce_range else 127

    def forward(self, weight: Tensor) -> Tensor:
        scale = self.scale(weight)
        zeros = torch.zeros(len(scale), dtype=torch.int32)
        if self.per_channel:
            return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -self.top, self.top)
        return torch.fake_quantize_per_tensor_affine(weight, scale, zeros, -self.top, self.top)

    def scale(self, weight: Tensor) -> Tensor:
        """float32 (channels,), or (1,) for the whole tensor."""
        rows = weight.detach().reshape(len(weight) if self.per_channel else 1, -1)
        return (rows.abs().amax(1) / self.top).clamp(min=SMALLEST_SCALE)

    def levels(self, weight: Tensor, scale: Tensor) -> Tensor:
        """int8 levels of ``weight`` on the grid of ``scale``."""
        columns = scale.reshape(-1, *[1] * (weight.dim() - 1))
        return (weight.detach() / columns).round().clamp(-self.top, self.top).to(torch.int8)
