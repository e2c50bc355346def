"""Training with the user's own step, and imitation of a larger model."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tidegate[qat]'")
from torch import Tensor, nn  # noqa: E402 - after the skip
from torch.nn import functional  # noqa: E402

from edge_node.prepare.qat.api import (  # noqa: E402
    Imitation,
    Prepared,
    QatError,
    Training,
    onnx_teacher,
    prepare_qat,
    torch_logits,
    train,
)
from edge_node.prepare.qat.train import cross_entropy  # noqa: E402
from tests.edge_node.prepare.qat_nets import Dense, batches, samples, trained  # noqa: E402
from tests.models import linear  # noqa: E402

INPUTS, CLASSES = samples(Dense, 500, seed=9)
FAST = Training(epochs=3, learning_rate=1e-2)


def prepared() -> Prepared:
    return prepare_qat(trained(Dense), INPUTS[:100])


def epoch() -> Iterator[tuple[Tensor, Tensor]]:
    return batches(Dense)


def test_the_loss_falls_and_so_do_mistakes() -> None:
    torch.manual_seed(1)
    model = prepare_qat(Dense(), INPUTS[:100])  # knows nothing yet
    before = (torch_logits(model, INPUTS).argmax(1) == CLASSES).mean()
    train(model, epoch, training=FAST)
    assert (torch_logits(model, INPUTS).argmax(1) == CLASSES).mean() > before + 0.2
    assert not model.training


def test_the_step_is_the_users_own() -> None:
    seen = []

    def step(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        seen.append(model)
        return functional.multi_margin_loss(model(batch["rows"]), batch["classes"])

    def dictionaries() -> Iterator[dict[str, Tensor]]:
        return ({"rows": rows, "classes": classes} for rows, classes in batches(Dense))

    model = prepared()
    train(model, dictionaries, step, FAST)
    assert seen == [model] * 18


def distance(model: nn.Module, imitation: Imitation) -> float:
    inputs = torch.from_numpy(INPUTS)
    with torch.no_grad():
        return float(imitation.distance(inputs, model.eval()(inputs)))


def test_imitation_brings_the_student_nearer_to_its_teacher(tmp_path: Path) -> None:
    """The teacher, an ONNX file, knows another world than the labels: what is learned of it is imitation."""
    teacher = onnx_teacher(linear(tmp_path / "teacher.onnx", scale=2.0, classes=3))
    imitation = Imitation(lambda inputs: teacher(inputs[:, :3]), weight=0.5, temperature=2.0)
    alone, imitating = prepared(), prepared()
    before = distance(alone, imitation)
    train(alone, epoch, training=FAST)
    train(imitating, epoch, training=FAST, imitation=imitation)
    assert distance(imitating, imitation) < 0.5 * min(before, distance(alone, imitation))


def test_distance_is_the_softened_divergence() -> None:
    wanted, given = torch.randn(5, 3), torch.randn(5, 3)
    imitation = Imitation(lambda _: wanted, temperature=3.0)
    p, q = (torch.softmax(logits / 3, 1) for logits in (wanted, given))
    expected = 9 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(imitation.distance(torch.zeros(5, 4), given), expected)
    assert imitation.distance(torch.zeros(5, 4), wanted).item() == pytest.approx(0, abs=1e-6)


def test_the_same_seed_gives_the_same_weights() -> None:
    models = [prepared(), prepared()]
    for model in models:
        train(model, epoch, training=FAST)
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def no_tensor(model: nn.Module, batch: tuple[Tensor, Tensor]) -> float:
    return float(cross_entropy(model, batch).detach())


def many_losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def broken(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:  # noqa: ARG001 - the shape of a step
    raise KeyError("weights")


def diverging(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model, batch) / 0


def unreadable() -> Iterator[tuple[Tensor, Tensor]]:
    yield from itertools.islice(batches(Dense), 1)
    raise OSError("no such file: day2.csv")


def wrong_shape() -> list[tuple[Tensor, Tensor]]:
    return [(torch.zeros(4, 9), torch.zeros(4, dtype=torch.int64))]


@pytest.mark.parametrize(
    ("make", "step", "message"),
    [
        (epoch, no_tensor, "the training step gives no loss: it must return a tensor of one number"),
        (epoch, many_losses, "the training step gives no loss"),
        (epoch, broken, r"the training step: KeyError: 'weights' \(test_qat_train.py, line \d+\)"),
        (epoch, diverging, r"the loss is (inf|nan) in epoch 1: lower learning_rate \(now 0.01\)"),
        (unreadable, cross_entropy, r"the training batches: OSError: no such file: day2.csv \(test_qat_t"),
        (wrong_shape, cross_entropy, "the training step: RuntimeError: mat1 and mat2 shapes"),
        (list, cross_entropy, "there are no training batches"),
    ],
)
def test_what_cannot_be_trained(
    make: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    step: Callable[[nn.Module, tuple[Tensor, Tensor]], Tensor],
    message: str,
) -> None:
    with pytest.raises(QatError, match=message) as caught:
        train(prepared(), make, step, FAST)
    assert "\n" not in str(caught.value)


def test_a_teacher_of_other_classes_is_named() -> None:
    imitation = Imitation(lambda inputs: torch.zeros(len(inputs), 10))
    with pytest.raises(QatError, match=r"the teacher gives \(64, 10\), the model \(64, 3\)"):
        train(prepared(), epoch, training=FAST, imitation=imitation)


def test_a_teacher_that_takes_other_inputs_is_named(tmp_path: Path) -> None:
    imitation = Imitation(onnx_teacher(linear(tmp_path / "teacher.onnx")))
    with pytest.raises(QatError, match=r"the teacher: InvalidArgument: .*dimensions"):
        train(prepared(), epoch, training=FAST, imitation=imitation)


def test_a_teacher_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "teacher.onnx").write_text("no model")
    with pytest.raises(QatError, match=r"teacher.onnx cannot be loaded"):
        onnx_teacher(tmp_path / "teacher.onnx")


def test_a_step_without_the_model_cannot_imitate() -> None:
    free = torch.zeros(1, requires_grad=True)
    imitation = Imitation(lambda inputs: inputs)
    with pytest.raises(QatError, match="never called the model"):
        train(prepared(), epoch, lambda _model, _batch: free.sum(), FAST, imitation)


def test_the_hook_is_gone_after_the_training() -> None:
    model = prepared()
    train(model, epoch, training=FAST, imitation=Imitation(lambda inputs: inputs[:, :3]))
    assert not model._forward_hooks
