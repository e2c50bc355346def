"""The command ``edge-node prepare plan``."""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from edge_node.prepare.certify import options as shared
from edge_node.prepare.errors import PrepareError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge_node.prepare.certify.evidence import Evidence
    from edge_node.prepare.certify.promises import Trial
    from edge_node.prepare.certify.question import Question


def add(commands: Any) -> None:
    """Add the command to ``edge-node prepare``."""
    command = commands.add_parser(
        "plan",
        help="how many samples a promise takes; which one a budget allows",
        description="Without data: how many samples certify epsilon. With two artifacts and data: what to "
        "expect of more samples, from the fifth that `certify` would tune with; the others stay unseen.",
    )
    command.set_defaults(command=_plan)
    command.add_argument(
        "given", type=Path, nargs="*", metavar="EDGE CLOUD DATA", help="as for `edge-node prepare certify`"
    )
    shared.add(command)
    command.add_argument("--offload", type=float, help="share of inputs that the link allows")
    command.add_argument(
        "--bytes", type=float, help="share of the bytes of all inputs, as they travel, that the link allows"
    )


def _plan(options: argparse.Namespace) -> str:
    options.also, options.unserved, options.per_group = [], 0.0, False
    question = shared.question(options)
    for name, share in (("--offload", options.offload), ("--bytes", options.bytes)):
        if share is not None and not 0 < share < 1:
            raise PrepareError(f"{name} {share:g}: a share between 0 and 1")
        if share is not None and not options.given:
            raise PrepareError(f"{name} takes EDGE CLOUD DATA: what it costs depends on them")
    if not options.given:
        return "\n".join(_by_counting(question))
    if len(options.given) != 3:
        raise PrepareError("give EDGE CLOUD DATA, all three, or none")
    options.edge, options.cloud, options.data = options.given
    return "\n".join(_by_pilot(options, question))


def _by_counting(question: "Question") -> Iterator[str]:
    from edge_node.gate.certificate import Method
    from edge_node.prepare.certify.plan import SIZES, most_failures
    from edge_node.prepare.certify.testing import least_samples

    epsilon, delta = question.epsilon, question.delta
    betting, exact = (least_samples(method, epsilon, delta) for method in get_args(Method))
    yield (
        f"epsilon {epsilon:g} at {1 - delta:.3g}: {exact} samples without a failure for harm, disagreement "
        f"and selective, {betting} for drop"
    )
    yield "samples  failures allowed (exact tests)"
    for size in SIZES:
        most = most_failures(size, epsilon, delta)
        yield f"{size:7}  {'-' if most is None else most}"


def _by_pilot(options: argparse.Namespace, question: "Question") -> Iterator[str]:
    from edge_node.prepare.certify import given
    from edge_node.prepare.certify.core import trial_of
    from edge_node.prepare.certify.plan import SIZES, outlook
    from edge_node.prepare.certify.split import shuffled, split
    from edge_node.prepare.certify.tuning import tuned

    found = given.take(options)
    tune, _ = split(len(found.evidence), found.evidence.groups, question.seed)
    choice = tuned(found.evidence.take(tune), seed=question.seed)
    pilot = shuffled(choice.tune, question.seed)
    trial = trial_of(choice, pilot, question)
    yield f"from {len(tune)} samples; the other {len(found.evidence) - len(tune)} stay unseen for certify"
    if options.offload:
        yield from _at_offload(trial, options.offload, question)
    if options.bytes:
        yield from _at_bytes(trial, pilot, choice.grid, options.bytes, question)
    yield f"to certify {trial.promise} {question.epsilon:g} at {1 - question.delta:.3g}:"
    yield "samples  certified  offload"
    for size in SIZES:
        seen = outlook(trial, choice.grid, question.epsilon, question.delta, size)
        yield f"{size:7}  {seen.certified:9.0%}  {'-' if seen.offload is None else f'{seen.offload:.0%}'}"


def _at_offload(trial: "Trial", share: float, question: "Question") -> Iterator[str]:
    from edge_node.prepare.certify.plan import threshold_on_average, threshold_surely

    average = threshold_on_average(trial.scores, share)
    sure = threshold_surely(trial.scores, share, question.delta)
    yield f"offload {share:g}: threshold {average:.6g} on average, {sure:.6g} with {1 - question.delta:.3g}"
    yield _certifiable(trial, sure, question)


def _at_bytes(
    trial: "Trial", pilot: "Evidence", grid: "Sequence[float]", share: float, question: "Question"
) -> Iterator[str]:
    from edge_node.prepare.certify.plan import threshold_of_bytes

    sizes = cast("NDArray[np.int64]", pilot.sizes)
    sure = threshold_of_bytes(trial.scores, sizes, grid, share, question.delta)
    sent = sizes[~(trial.scores >= sure)].sum() / sizes.sum()
    yield f"bytes {share:g}: threshold {sure:.6g} with {1 - question.delta:.3g}, {sent:.1%} of those here"
    yield _certifiable(trial, sure, question)


def _certifiable(trial: "Trial", threshold: float, question: "Question") -> str:
    tightest = trial.tightest(threshold, question.delta) if math.isfinite(threshold) else None
    return f"certifiable there: {'nothing' if tightest is None else f'{trial.promise} {tightest:g}'}"
