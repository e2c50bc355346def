"""How a certificate stands on a running node, for `edge-node certificate show --node`."""

from collections.abc import Iterator
from math import isnan

from edge_node.top import words
from edge_node.top.reading import Reading


def lines(now: Reading) -> Iterator[str]:
    """What its metrics say, in the form of what `certificate show` says of the artifact."""
    yield from (f"{name:<11}{value}" for name, value in _facts(now))


def _facts(now: Reading) -> Iterator[tuple[str, str]]:
    grounds = now.by("ground", "tidegate_certificate_standing")
    ground = next((it for it, value in grounds.items() if value == 1), "")
    name, why = words.GROUNDS.get(ground, (words.clean(ground) or words.UNKNOWN, "not known"))
    yield "stands", f"{name}, {why}"
    risk = now.value("tidegate_certificate_risk")
    yield "loses", f"{words.points(risk)} points at most, unanswered deferrals included"
    audits = now.by("outcome", "tidegate_audits")
    heard, missing = (words.count(audits.get(it, 0)) for it in ("answered", "missing"))
    share = now.value("tidegate_audit_share_ratio")
    yield "audits", f"{heard} answered, {missing} missing; {words.percent(share)} of the samples"
    bounds = ("estimate", "low", "high", "worst")
    kept, low, high, worst = (
        words.percent(now.value("tidegate_disagreement_ratio", bound=it)) for it in bounds
    )
    yield "differ", f"{kept} of the kept ({low} to {high}), {worst} if all that are missing do"
    if not isnan(drop := now.value("tidegate_labelled_drop_ratio")):
        yield "labels", f"say that {words.points(drop)} points are lost"
    evidence = words.number(now.value("tidegate_audit_evidence"))
    yield "e-value", f"{evidence}, alarm at {words.ALARM:,.0f}"
    needed = now.value("tidegate_audit_detection_audits")
    inputs = needed / (share * (1 - now.value("tidegate_certificate_offload_ratio"))) if share else needed
    yield "detects", f"twice as many in {words.number(needed)} audits, {words.number(inputs)} inputs"
