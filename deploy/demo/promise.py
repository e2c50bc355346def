"""The certificate of the hybrid's artifact, and whether this run kept what it promises."""

from deploy.demo.comparison import Comparison
from edge_node.gate import certificate
from protos import artifact


def kept(comparison: Comparison) -> str:
    """What was promised, what weakens it, what happened, a line each; or that nothing was promised."""
    found = certificate.load(artifact.load(comparison.scenario.edge))
    if found is None:
        return "Certificate: none; `edge-node prepare certify` makes one."
    lines = [f"Certificate: {found.verdict}", *(f"Note: {it}." for it in found.warnings)]
    if found.promise == "drop" and comparison.scenario.labelled:
        kept = "kept" if comparison.drop <= found.epsilon else "did NOT keep"
        lines.append(
            f"This run {kept} it: the hybrid {_away(comparison.drop)} cloud-only, "
            f"{100 * found.epsilon:.1f} points below are allowed."
        )
    return "\n".join(lines)


def _away(drop: float) -> str:
    points = f"{100 * abs(drop):.1f} points"
    return f"was {points} below" if drop > 0 else f"was {points} above" if drop else "did as well as"
