"""The command ``edge-node prepare plan``."""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edge_node.prepare.certify import options as shared
from edge_node.prepare.errors import PrepareError

if TYPE_CHECKING:
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


def _plan(options: argparse.Namespace) -> str:
    options.also, options.unserved, options.per_group = [], 0.0, False
    question = shared.question(options)
    if options.offload is not None and not 0 < options.offload < 1:
        raise PrepareError(f"--offload {options.offload:g}: a share between 0 and 1")
    if not options.given:
        if options.offload is not None:
            raise PrepareError("--offload takes EDGE CLOUD DATA: what it costs depends on them")
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
    from edge_node.prepare.certify.split import split
    from edge_node.prepare.certify.tuning import tuned

    found = given.take(options)
    tune, _ = split(len(found.evidence), found.evidence.groups, question.seed)
    choice = tuned(found.evidence.take(tune), seed=question.seed)
    trial = trial_of(choice, choice.tune, question)
    yield f"from {len(tune)} samples; the other {len(found.evidence) - len(tune)} stay unseen for certify"
    if options.offload is not None:
        yield from _at_offload(trial, options.offload, question)
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
    tightest = trial.tightest(sure, question.delta) if math.isfinite(sure) else None
    yield f"certifiable there: {'nothing' if tightest is None else f'{trial.promise} {tightest:g}'}"
