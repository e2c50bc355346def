"""Fake quantisation computes what onnxruntime computes."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.models import save

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tidegate[qat]'")
from edge_node.prepare.qat.convert import onnx_logits  # noqa: E402 - after the skip
from edge_node.prepare.qat.fakequant import FakeQuant, WeightQuant  # noqa: E402


def quant(*, learned: bool = False, zero_based: bool = False, ceiling: float = float("inf")) -> FakeQuant:
    return FakeQuant(learned=learned, momentum=0.1, zero_based=zero_based, ceiling=ceiling)


def calibrated(fake: FakeQuant, *values: float) -> FakeQuant:
    """Its range that of ``values``."""
    fake.calibrating = True
    fake(torch.tensor(values))
    fake.calibrating = False
    fake.eval()
    return fake


def onnxruntime_says(folder: Path, x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """``x`` (n, values) quantised and dequantised by onnxruntime; a vector of scales is one a row of x."""
    constants = [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(zero_point, "zero_point")]
    axis = 0 if scale.ndim else None
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["levels"], axis=axis),
        helper.make_node("DequantizeLinear", ["levels", "scale", "zero_point"], ["logits"], axis=axis),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", x.shape[1]])
    return onnx_logits(save(folder / "pair.onnx", nodes, constants, given, x.shape[1]), x)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_activations_equal_onnxruntimes(tmp_path: Path, seed: int, *, learned: bool) -> None:
    random = np.random.default_rng(seed)
    low, high = random.normal(-1, 2), random.normal(4, 2)
    fake = calibrated(quant(learned=learned), low, high)
    x = random.normal(1, 5, (100, 64)).astype(np.float32)  # well beyond the range on both sides

    ours = fake(torch.from_numpy(x)).detach().numpy()

    scale, zero_point = (value.numpy() for value in fake.qparams())
    np.testing.assert_array_equal(ours, onnxruntime_says(tmp_path, x, scale, zero_point))
    assert len(np.unique(ours)) == 256


def test_halves_are_rounded_to_even_and_what_is_beyond_is_clipped(tmp_path: Path) -> None:
    fake = calibrated(quant(), -32.0, 31.75)  # scale 1/4, zero point 128: halves are exact
    x = np.array([[0.125, 0.375, 0.625, -0.125, -0.375, -32.125, 40, -40, 0]], np.float32)

    ours = fake(torch.from_numpy(x)).numpy()

    np.testing.assert_array_equal(ours, [[0, 0.5, 0.5, 0, -0.5, -32, 31.75, -32, 0]])
    scale, zero_point = (value.numpy() for value in fake.qparams())
    np.testing.assert_array_equal(ours, onnxruntime_says(tmp_path, x, scale, zero_point))


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("reduce_range", [True, False])
def test_weights_equal_onnxruntimes(tmp_path: Path, *, per_channel: bool, reduce_range: bool) -> None:
    random = np.random.default_rng(0)
    weight = (random.normal(size=(8, 40)) * random.lognormal(size=(8, 1))).astype(np.float32)
    quantizer = WeightQuant(per_channel=per_channel, reduce_range=reduce_range)

    ours = quantizer(torch.from_numpy(weight)).numpy()

    scale = quantizer.scale(torch.from_numpy(weight))
    levels = quantizer.levels(torch.from_numpy(weight), scale).numpy()
    assert abs(levels).max() == (63 if reduce_range else 127)
    np.testing.assert_array_equal(ours, levels * scale.numpy()[:, None])
    vector = scale.numpy() if per_channel else scale.numpy().reshape(())
    theirs = onnxruntime_says(tmp_path, weight, vector, np.zeros(vector.shape, np.int8))
    np.testing.assert_array_equal(ours, theirs)


def test_zero_is_exact_and_in_every_range() -> None:
    fake = calibrated(quant(), 3.0, 5.0)
    assert fake(torch.zeros(4)).tolist() == [0] * 4
    assert fake.qparams()[1] == 0


def test_an_observed_range_follows_what_training_shows_until_frozen() -> None:
    fake = calibrated(quant(), 0.0, 1.0).train()
    fake(torch.tensor([0.0, 11.0]))
    assert fake.high.item() == pytest.approx(0.9 * 1 + 0.1 * 11)
    fake.freeze()
    before = fake.qparams()
    fake(torch.tensor([0.0, 1000.0]))
    assert fake.qparams() == before
    fake.eval()(torch.tensor([0.0, 1000.0]))
    assert fake.qparams() == before


def test_a_learned_range_moves_along_its_gradient_but_not_below_zero_nor_above_the_ceiling() -> None:
    fake = calibrated(quant(learned=True, zero_based=True, ceiling=6.0), 0.0, 5.0).train()
    optimiser = torch.optim.SGD(fake.parameters(), 100.0)
    before = fake.qparams()
    (fake(torch.tensor([[5.5, 1.0]])) - 6).square().sum().backward()
    optimiser.step()
    scale, zero_point = fake.qparams()
    assert before[0] < scale <= 6 / 255
    assert zero_point == 0
    fake.freeze()
    assert not any(parameter.requires_grad for parameter in fake.parameters())
