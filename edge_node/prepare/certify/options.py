"""The options that ``certify`` and ``plan`` share."""

import argparse
from pathlib import Path
from typing import get_args

from edge_node.gate.certificate import Promise
from edge_node.prepare.certify.question import Question

DATA = "samples as for `edge-node prepare quantize`, best with labels, not yet used for anything"


def add(command: argparse.ArgumentParser) -> None:
    """Add the options that say what is to be promised, and of which samples."""
    command.add_argument("--labels", type=Path, help="of the samples, if DATA has none: .npy, or a line each")
    command.add_argument(
        "--groups", type=Path, help="subject, site or clip of each sample, a line each: none is split"
    )
    command.add_argument("--epsilon", type=float, default=0.01, help="a share (default: %(default)s)")
    command.add_argument(
        "--delta", type=float, default=0.05, help="risk of a wrong promise (default: %(default)s)"
    )
    command.add_argument(
        "--promise", choices=get_args(Promise), help="(default: drop; without labels disagreement)"
    )


def question(options: argparse.Namespace) -> Question:
    """What they ask; ``PrepareError`` says what cannot be asked."""
    half = options.epsilon / 2
    also = options.also if options.also is not None else [half] if half > options.unserved else []
    return Question(
        promise=options.promise,
        epsilon=options.epsilon,
        delta=options.delta,
        also=tuple(also),
        unserved=options.unserved,
        per_group=options.per_group,
    )
