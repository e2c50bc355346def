"""Training of a prepared model with the user's own step."""

import logging
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_node.prepare.qat.distill import Imitation
from edge_node.prepare.qat.errors import QatError, blaming
from edge_node.prepare.qat.prepared import Prepared
from edge_node.prepare.qat.recipe import Training

log = logging.getLogger(__name__)

Step = Callable[[nn.Module, Any], Tensor]
"""``(model, batch) -> loss``: a number that the training makes small."""


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The step of those who have none: batches are (inputs, class indices)."""
    inputs, classes = batch
    return functional.cross_entropy(model(torch.as_tensor(inputs)), torch.as_tensor(classes))


def train(
    prepared: Prepared,
    batches: Callable[[], Iterable[Any]],
    step: Step = cross_entropy,
    training: Training | None = None,
    imitation: Imitation | None = None,
) -> None:
    """Train in place; ``batches()`` gives those of one epoch. The same seed gives the same weights.

    ``QatError`` names what the user's functions raised, or the epoch in which the loss was lost.
    """
    training = training or Training()
    torch.manual_seed(training.seed)
    optimiser = torch.optim.Adam(prepared.parameters(), training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.epochs)
    with imitation.of(prepared) if imitation else nullcontext(_as_it_is) as blend:
        for epoch in range(training.epochs):
            prepared.begin_epoch(epoch, training)
            loss = _epoch(batches, lambda batch: blend(step(prepared, batch)), optimiser)
            log.info("epoch %d of %d: loss %.4f", epoch + 1, training.epochs, loss)
            if not math.isfinite(loss):
                rate = f"{training.learning_rate:g}"
                raise QatError(f"the loss is {loss} in epoch {epoch + 1}: lower learning_rate (now {rate})")
            schedule.step()
    prepared.eval()


def _as_it_is(loss: Tensor) -> Tensor:
    return loss


def _epoch(
    batches: Callable[[], Iterable[Any]], step: Callable[[Any], Tensor], optimiser: torch.optim.Optimizer
) -> float:
    """Mean loss of an epoch."""
    losses = []
    for batch in _blamed(batches):
        with blaming("the training step"):
            loss = step(batch)
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                raise QatError("the training step gives no loss: it must return a tensor of one number")
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    if not losses:
        raise QatError("there are no training batches: batches() must give those of one epoch, every time")
    return sum(losses) / len(losses)


def _blamed(batches: Callable[[], Iterable[Any]]) -> Iterable[Any]:
    """The batches, with whatever making them raises as one line."""
    with blaming("the training batches"):
        rest = iter(batches())
    while True:
        with blaming("the training batches"):
            batch = next(rest, rest)
        if batch is rest:
            return
        yield batch
