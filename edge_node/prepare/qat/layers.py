"""Layers with weights: batch norm folded in, weights fake-quantised."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edge_node.prepare.qat.fakequant import FakeQuant, WeightQuant

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_BIAS_LIMIT = 2.0**30
"""Largest level of a bias: int32 has room for the sum of products beside it."""


class FoldedLayer(nn.Module):
    """A convolution or linear layer that computes with the weights the device will have.

    In training, batch norm sees the batch, but weights are quantised as folded with the running
    statistics: the grid that training meets is the one of the device. Frozen, or in evaluation,
    batch norm is folded wholly.
    """

    input_quant: tuple[FakeQuant]
    """What holds the input in uint8; in a tuple, since it is another module's part."""

    def __init__(self, layer: nn.Module, quant: WeightQuant) -> None:
        super().__init__()
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros(len(layer.weight)))
        self.layer = layer
        self.norm: nn.Module | None = None
        self.quant = quant
        self.quantizing = True
        self.frozen = False

    def forward(self, x: Tensor) -> Tensor:
        if self.norm is None or self.frozen or not self.training:
            weight, bias = self.folded()
            return self._apply(x, self.quantized(weight), self._rounded(bias, weight))
        factor = _factor(self.norm)
        scale = torch.where(factor.abs() < 1e-6, torch.ones_like(factor), factor)  # gamma may start at 0
        columns = scale.reshape(-1, *[1] * (self.layer.weight.dim() - 1))
        weight = self.quantized(self.layer.weight * columns) / columns
        return self.norm(self._apply(x, weight, self.layer.bias))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Float weight and bias that do what the layer and its batch norm do in evaluation."""
        weight, bias = self.layer.weight, self.layer.bias
        if self.norm is None:
            return weight, bias
        factor = _factor(self.norm)
        columns = factor.reshape(-1, *[1] * (weight.dim() - 1))
        return weight * columns, (bias - self.norm.running_mean) * factor + self.norm.bias

    def quantized(self, weight: Tensor) -> Tensor:
        """Fake-quantised, unless calibration wants float values."""
        return self.quant(weight) if self.quantizing else weight

    def scales(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Those of int8 weight, (channels,) or (1,), and of int32 bias, (channels,).

        A channel that training switched off has a weight so small that its bias would not fit.
        """
        scale, input_scale = self.quant.scale(weight), self.input_quant[0].qparams()[0]
        least = (bias.detach().abs() / (input_scale * _BIAS_LIMIT)).reshape(len(scale), -1).amax(1)
        scale = scale.maximum(least)
        return scale, (input_scale * scale).expand(len(bias)).contiguous()

    def _rounded(self, bias: Tensor, weight: Tensor) -> Tensor:
        """The bias as the device adds it to the sum of products, with the gradient of ``bias``."""
        if not self.quantizing:
            return bias
        scale = self.scales(weight, bias)[1]
        return bias + ((bias / scale).round() * scale - bias).detach()

    def _apply(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional_call(self.layer, {"weight": weight, "bias": bias}, (x,))


def _factor(norm: nn.Module) -> Tensor:
    """By what a batch norm multiplies each channel in evaluation."""
    return norm.weight * torch.rsqrt(norm.running_var + norm.eps)
