"""The exported graph chooses what the fake-quantised model chooses, with int8 kernels."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tidegate[qat]'")
from torch import Tensor, nn  # noqa: E402 - after the skip

from edge_node.prepare.qat.api import (  # noqa: E402
    Prepared,
    QatError,
    Quantization,
    Training,
    convert,
    prepare_qat,
    torch_logits,
    train,
)
from tests.edge_node.prepare.qat_nets import Dense, Residual, Wave, batches, samples, trained  # noqa: E402

PLAIN = Quantization()
PER_TENSOR = Quantization(weights="per_tensor", reduce_range=True)
LEARNED = Quantization(ranges="learned")


def ready(net: type[nn.Module], quantization: Quantization = PLAIN) -> Prepared:
    """Trained in float, then a little with fake quantisation."""
    prepared = prepare_qat(trained(net), samples(net, 100)[0], quantization)
    train(prepared, lambda: batches(net), training=Training(epochs=2, range_epochs=1, batch_norm_epochs=1))
    return prepared


@pytest.mark.parametrize(
    ("net", "quantization", "layers"),
    [
        (Residual, PLAIN, 4),
        (Residual, PER_TENSOR, 4),
        (Residual, LEARNED, 4),
        (Wave, PLAIN, 4),
        (Dense, LEARNED, 3),
    ],
)
def test_the_export_agrees_and_runs_in_int8(
    tmp_path: Path, net: type[nn.Module], quantization: Quantization, layers: int
) -> None:
    prepared = ready(net, quantization)
    inputs = samples(net, 3000, seed=9)[0]

    converted = convert(prepared, tmp_path / "model.onnx", inputs)

    assert converted.agreement >= 0.999
    assert (converted.int8_layers, converted.layers) == (layers, layers)
    assert list(tmp_path.iterdir()) == [tmp_path / "model.onnx"]
    expected = torch_logits(prepared, inputs)
    assert np.abs(converted.logits - expected).mean() < 0.01 * np.abs(expected).max()


def test_weights_are_stored_in_int8_and_no_path_of_this_machine_at_all(tmp_path: Path) -> None:
    path = convert(ready(Residual), tmp_path / "model.onnx", samples(Residual, 100)[0]).path
    graph = onnx.load(path).graph
    types = {it.name: it.data_type for it in graph.initializer if it.name.endswith(("weight", "bias"))}
    assert sorted(set(types.values())) == [onnx.TensorProto.INT8, onnx.TensorProto.INT32]
    assert [it.name for it in (*graph.input, *graph.output)] == ["input", "logits"]
    content = path.read_bytes()
    assert os.fsencode(Path(__file__).parent.parent) not in content
    assert b".py" not in content


def test_the_same_training_gives_the_same_bytes(tmp_path: Path) -> None:
    inputs = samples(Dense, 100)[0]
    written = [convert(ready(Dense), tmp_path / name, inputs).path.read_bytes() for name in "ab"]
    assert written[0] == written[1]


def test_a_channel_that_training_switched_off_keeps_its_bias(tmp_path: Path) -> None:
    model = trained(Dense)
    with torch.no_grad():
        model.layers[5].weight[1] = 1e-30
        model.layers[5].bias[1] = 100.0
    prepared = prepare_qat(model, samples(Dense, 100)[0])
    converted = convert(prepared, tmp_path / "model.onnx", samples(Dense, 100)[0])
    np.testing.assert_allclose(converted.logits[:, 1], 100.0, rtol=1e-4)


def test_a_graph_that_chooses_otherwise_is_not_written(tmp_path: Path) -> None:
    class Shy(Prepared):
        """Trained one way, evaluated another."""

        def forward(self, x: Tensor) -> Tensor:
            return -super().forward(x)

    prepared = ready(Dense)
    shy = Shy(prepared.graph, prepared.example)
    with pytest.raises(QatError, match=r"for \d+\.\d+% of 500 samples, not for 99.90%"):
        convert(shy, tmp_path / "model.onnx", samples(Dense, 500)[0])
    assert not list(tmp_path.iterdir())


def test_a_model_of_one_batch_size_says_so(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.reshape(2, 4))

    prepared = prepare_qat(Fixed(), samples(Dense, 2)[0])
    message = r"the model on test inputs \(9, 4\): RuntimeError: shape '\[2, 4\]' is invalid"
    with pytest.raises(QatError, match=message) as caught:
        convert(prepared, tmp_path / "model.onnx", samples(Dense, 9)[0])
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_onnx_has_no_operator_for_says_so(tmp_path: Path) -> None:
    class Digamma(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.digamma(self.layer(x))

    prepared = prepare_qat(Digamma(), samples(Dense, 20)[0])
    with pytest.raises(QatError, match=r"cannot be exported to ONNX: .*digamma") as caught:
        convert(prepared, tmp_path / "model.onnx", samples(Dense, 20)[0])
    assert "\n" not in str(caught.value)
