"""A report and this machine's times, for a person."""

from collections.abc import Mapping
from typing import Any

from edge_node.prepare.choice import TIE


def table(report: Mapping[str, Any], speed: Mapping[str, Any] | None) -> str:
    """For a person: a line a variant, the choice, the worst layers."""
    rows = [("", "top-1" if report["labelled"] else "", "drop (95 %)", "agree", "size", "time")]
    for one in report["variants"]:
        timed = speed["variants"].get(one["name"]) if speed else None
        rows.append(
            (
                one["name"],
                _percent(one["accuracy"]["value"]) if one["accuracy"] else "",
                _interval(one["drop"]),
                _percent(one["agreement"]["value"]),
                f"{one['size']:.2f} x",
                f"{timed['median_ms']:.2f} ms, {timed['share_of_fp32']:.2f} x" if timed else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if report["float_layers"]:
        lines.append(f"back in float: {', '.join(report['float_layers'])}")
    lines += [*report["worst_layers"], *_slow(report, speed), f"chosen: {report['reason']}"]
    return "\n".join(lines)


def _slow(report: Mapping[str, Any], speed: Mapping[str, Any] | None) -> list[str]:
    """One line if int8 does not pay on this machine."""
    times = {} if speed is None else {name: it["share_of_fp32"] for name, it in speed["variants"].items()}
    small = [one["name"] for one in report["variants"] if one["precision"] == "int8" and one["name"] in times]
    if not small or times[fastest := min(small, key=lambda name: times[name])] <= 1 + TIE:
        return []
    return [
        f"int8 is slower here: its fastest variant, {fastest}, takes {times[fastest]:.2f} x the time of fp32"
    ]


def _percent(share: float) -> str:
    return f"{share:.2%}"


def _interval(share: Mapping[str, float]) -> str:
    return f"{share['value']:+.2%} ({share['low']:+.2%} .. {share['high']:+.2%})"
