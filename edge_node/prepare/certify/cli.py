"""The command ``edge-node prepare certify``."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge_node.prepare.certify import options as shared
from edge_node.prepare.errors import NotCertified
from protos import artifact

if TYPE_CHECKING:
    from edge_node.gate.certificate import Certificate
    from edge_node.prepare.certify.evidence import Evidence
    from edge_node.prepare.certify.tuning import Tuned


def add(commands: Any) -> None:
    """Add the command to ``edge-node prepare``."""
    command = commands.add_parser(
        "certify",
        help="an edge artifact with a proven promise: how close to the cloud model, at how many bytes",
        description="Runs both models on the samples, the cloud's on what comes out of the wire. A fifth of "
        "the samples chooses temperature, score and grid; the others certify, once. What is promised and "
        "what is not: docs/certificate.md.",
    )
    command.set_defaults(command=_certify)
    command.add_argument("edge", type=Path, metavar="EDGE", help="artifact of the edge model")
    command.add_argument("cloud", type=Path, metavar="CLOUD", help="artifact of the cloud model")
    command.add_argument("data", type=Path, metavar="DATA", help=shared.DATA)
    command.add_argument("-o", "--out", type=Path, required=True, metavar="ARTIFACT_DIR")
    shared.add(command)
    command.add_argument(
        "--also",
        type=float,
        nargs="*",
        help="more epsilons to certify, stricter or looser (default: half of epsilon)",
    )
    command.add_argument(
        "--unserved",
        type=float,
        default=0.0,
        help="share of inputs whose deferral may stay unanswered, out of epsilon (default: %(default)s)",
    )
    command.add_argument(
        "--per-group",
        action="store_true",
        help="promise it for new groups: each counts once, it takes hundreds",
    )


def _certify(options: argparse.Namespace) -> str:
    from edge_node.gate.certificate import Certificate
    from edge_node.prepare.certify import given, words
    from edge_node.prepare.certify.core import certify_with
    from edge_node.prepare.certify.ledger import Ledger
    from edge_node.prepare.certify.split import split
    from edge_node.prepare.certify.tuning import tuned
    from edge_node.prepare.certify.write import write

    question = shared.question(options)
    found = given.take(options)
    tune, cert = split(len(found.evidence), found.evidence.groups, question.seed)
    ledger = Ledger.of(found.pair, options.edge, options.out)
    ledger.check(question, found.prints[cert])
    choice = tuned(found.evidence.take(tune), seed=question.seed)
    certifying = found.evidence.take(cert)
    outcome = certify_with(choice, certifying, question)
    ledger.add(question, found.prints[cert], outcome.verdict)
    certificate = outcome if isinstance(outcome, Certificate) else None
    drawn = _draw(options, choice, certifying, certificate)
    if certificate is None:
        raise NotCertified(f"{outcome.verdict} {drawn}")
    bound = msgspec.structs.replace(
        certificate,
        binding=found.binding,
        made_at=datetime.now(UTC),
        warnings=(*certificate.warnings, *words.rivals(ledger.other_pairs(found.prints[cert]))),
    )
    write(bound, found.pair.edge, options.out)
    return "\n".join([bound.verdict, *(f"note: {it}" for it in bound.warnings), f"{options.out}; {drawn}"])


def _draw(
    options: argparse.Namespace, choice: "Tuned", cert: "Evidence", certificate: "Certificate | None"
) -> str:
    """The curve beside the artifact; what to say of it."""
    from edge_node.prepare.certify.curve import curve, write_plot

    stem = options.out.name
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found = curve(choice, cert, certificate.epsilon if certificate else options.epsilon, certificate)
    (data := options.out.with_name(f"{stem}.curve.json")).write_bytes(artifact.encode_report(found))
    try:
        write_plot(figure := options.out.with_name(f"{stem}.curve.svg"), found)
    except ModuleNotFoundError as error:
        return f"curve: {data} (no plot: {error.name} is not installed)"
    return f"curve: {figure}"
