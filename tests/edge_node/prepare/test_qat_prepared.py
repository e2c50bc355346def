"""A prepared model is the float model, folded, with fake quantisation where the device has int8."""

import copy
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tidegate[qat]'")
from torch import Tensor, nn  # noqa: E402 - after the skip
from torch.nn.utils.fusion import fuse_conv_bn_weights  # noqa: E402

from edge_node.prepare.qat.errors import QatError  # noqa: E402
from edge_node.prepare.qat.layers import FoldedLayer  # noqa: E402
from edge_node.prepare.qat.prepared import Prepared, prepare_qat  # noqa: E402
from edge_node.prepare.qat.recipe import Quantization, Training  # noqa: E402
from tests.edge_node.prepare.qat_nets import Dense, Residual, Wave, batches, samples, trained  # noqa: E402

NETS = [Residual, Wave, Dense]


@pytest.mark.parametrize("net", NETS)
def test_without_quantisation_nothing_has_changed(net: type[nn.Module]) -> None:
    model, inputs = trained(net), torch.as_tensor(samples(net, 50)[0])
    prepared = prepare_qat(model, inputs)
    with prepared.calibrating():
        torch.testing.assert_close(prepared(inputs), model(inputs), rtol=1e-4, atol=1e-5)


def test_batch_norm_is_folded_as_torch_folds_it() -> None:
    model = trained(Residual)
    prepared = prepare_qat(model, samples(Residual, 50)[0])
    norm = model.deep_norm
    expected = fuse_conv_bn_weights(
        *(model.deep.weight, model.deep.bias, norm.running_mean, norm.running_var, norm.eps),
        *(norm.weight, norm.bias),
    )
    for ours, theirs in zip(prepared.graph.layer_1.folded(), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.graph.children())


@pytest.mark.parametrize("weights", ["per_channel", "per_tensor"])
def test_frozen_training_and_evaluation_compute_the_same(
    weights: Literal["per_channel", "per_tensor"],
) -> None:
    prepared = prepare_qat(trained(Residual), samples(Residual, 50)[0], Quantization(weights=weights))
    for parameter in prepared.parameters():
        parameter.requires_grad_(requires_grad=False)
    inputs = torch.as_tensor(samples(Residual, 50, seed=3)[0])
    dropout = next(module for module in prepared.modules() if isinstance(module, nn.Dropout))
    dropout.p = 0.0
    prepared.begin_epoch(5, Training(batch_norm_epochs=5, range_epochs=5))
    frozen = prepared(inputs)
    torch.testing.assert_close(frozen, prepared.eval()(inputs))


def test_batch_norm_and_ranges_move_until_their_epoch() -> None:
    prepared = prepare_qat(trained(Residual), samples(Residual, 50)[0])
    training = Training(batch_norm_epochs=1, range_epochs=2)
    moved = []
    for epoch in range(3):
        before = copy.deepcopy(prepared.state_dict())
        prepared.begin_epoch(epoch, training)
        prepared(next(batches(Residual))[0] + 1)
        after = prepared.state_dict()
        moved.append({key.split(".")[-1] for key in after if not torch.equal(before[key], after[key])})
    statistics, ranges = {"running_mean", "running_var"}, {"high", "scale"}
    assert moved[0] >= statistics | ranges
    assert not moved[1] & statistics
    assert moved[1] >= ranges
    assert not moved[2]


def test_the_model_given_is_left_alone() -> None:
    model = trained(Residual)
    before = copy.deepcopy(model.state_dict())
    prepared = prepare_qat(model, samples(Residual, 50)[0])
    prepared.train()(next(batches(Residual))[0]).sum().backward()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("ranges", ["observed", "learned"])
def test_every_parameter_has_a_gradient(ranges: Literal["observed", "learned"]) -> None:
    prepared = prepare_qat(trained(Residual), samples(Residual, 50)[0], Quantization(ranges=ranges))
    prepared.train()(next(batches(Residual))[0]).square().sum().backward()
    moving = {name: value for name, value in prepared.named_parameters() if value.requires_grad}
    assert all(value.grad is not None and value.grad.isfinite().all() for value in moving.values())
    assert any("scale" in name for name in moving) == (ranges == "learned")


def test_a_residual_that_starts_switched_off_trains() -> None:
    model = trained(Residual)
    nn.init.zeros_(model.wide_norm.weight)
    prepared = prepare_qat(model, samples(Residual, 50)[0], Quantization(weights="per_tensor"))
    prepared.train()(next(batches(Residual))[0]).square().sum().backward()
    gradient = prepared.graph.layer_2.norm.weight.grad
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_the_logits_stay_float() -> None:
    prepared = prepare_qat(trained(Dense), samples(Dense, 50)[0])
    logits = prepared.eval()(torch.as_tensor(samples(Dense, 2000)[0]))
    assert len(logits[:, 0].unique()) > 256


def test_one_fake_quantisation_for_each_tensor_that_the_device_holds() -> None:
    prepared = prepare_qat(trained(Residual), samples(Residual, 50)[0])
    # the input, stem and deep behind their activation, wide, and the sum behind its activation
    assert len(list(prepared.fake_quants())) == 5
    assert len([it for it in prepared.modules() if isinstance(it, FoldedLayer)]) == 4


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Sequence(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, None]


def lost(model: nn.Module) -> nn.Module:
    """A model whose training went wrong."""
    nn.init.constant_(next(model.parameters()), float("nan"))
    return model


ROWS = samples(Dense, 20)[0]


@pytest.mark.parametrize(
    ("make", "example", "message"),
    [
        (Branching, ROWS, r"cannot be traced .*must not branch on the values of tensors"),
        (Pair, ROWS, r"gives tuple for 2 samples, not one tensor \(batch, classes\)"),
        (Sequence, ROWS, r"gives \(2, 1, 4\) for 2 samples, not one tensor \(batch, classes\)"),
        (nn.ReLU, ROWS, "no Conv1d, Conv2d or Linear module"),
        (Dense, ROWS[:1], r"are \(1, 4\); give 2 samples or more"),
        (Dense, ROWS[:, :3], r"the model on example inputs \(20, 3\): RuntimeError: .*shapes.*line \d+"),
        (Dense, np.where(ROWS > 2, np.nan, ROWS), "example inputs hold NaN"),
        (lambda: lost(Dense()), ROWS, "NaN or infinite logits"),
    ],
)
def test_what_cannot_be_prepared(make: Callable[[], nn.Module], example: np.ndarray, message: str) -> None:
    with pytest.raises(QatError, match=message) as caught:
        prepare_qat(make(), example)
    assert "\n" not in str(caught.value)


def test_a_layer_called_twice_keeps_one_weight() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(torch.relu(self.layer(x)))

    prepared: Prepared = prepare_qat(Twice(), ROWS)
    first, second = prepared.folded_layers()
    assert first.layer is second.layer
    assert first.input_quant != second.input_quant
