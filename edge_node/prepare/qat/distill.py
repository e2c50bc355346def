"""Imitation of a larger model's logits beside the labels (Hinton, Vinyals and Dean 2015)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_node.prepare.qat.convert import open_session
from edge_node.prepare.qat.errors import QatError, blaming
from protos import artifact

Teacher = Callable[[Tensor], Tensor]
"""Inputs of a batch -> logits (batch, classes) of the larger model."""


@dataclass(frozen=True)
class Imitation:
    """Whom to imitate, and how much."""

    teacher: Teacher
    weight: float = 0.5
    """Share of the imitation in the loss."""
    temperature: float = 4.0
    """Of both softmaxes."""

    @contextmanager
    def of(self, student: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
        """``loss -> blended loss`` of what ``student`` computed last: the training step stays as it is."""
        seen: list[tuple[Tensor, Tensor]] = []

        def remember(_: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
            seen[:] = [(inputs[0], logits)]

        def blend(loss: Tensor) -> Tensor:
            if not seen:
                raise QatError("the training step never called the model, so there is nothing to imitate")
            inputs, logits = seen.pop()
            return (1 - self.weight) * loss + self.weight * self.distance(inputs, logits)

        hook = student.register_forward_hook(remember)
        try:
            yield blend
        finally:
            hook.remove()

    def distance(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """Mean divergence of the student's softened probabilities from the teacher's."""
        with blaming("the teacher"), torch.no_grad():
            wanted = self.teacher(inputs)
        if wanted.shape != logits.shape:
            raise QatError(f"the teacher gives {tuple(wanted.shape)}, the model {tuple(logits.shape)}")
        student, teacher = (functional.log_softmax(it / self.temperature, 1) for it in (logits, wanted))
        divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return divergence * self.temperature**2


def onnx_teacher(model: Path) -> Teacher:
    """The ONNX file or artifact directory ``model`` as a teacher; ``QatError`` if it cannot be loaded."""
    session = open_session(artifact.load(model).model if model.is_dir() else model)
    name = session.get_inputs()[0].name

    def logits(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])

    return logits
