"""What a quantisation found: the report that goes into the artifact, and this machine's times."""

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edge_node.prepare.choice import REFERENCE, Choice
from edge_node.prepare.layers import Layer
from edge_node.prepare.measure import ratios
from edge_node.prepare.search import Variant

SCHEMA = "tidegate.quantize/1"
_WORST = 3
_NOISY = 30.0
"""dB: a layer above is not worth a word."""


def report_of(
    settings: Mapping[str, Any], tried: Sequence[Variant], choice: Choice, layers: Sequence[Layer]
) -> dict[str, Any]:
    """The same for the same input: times, which are not, stand apart. ``tried`` begins with fp32."""
    import onnxruntime

    chosen = next(one for one in tried if one.name == choice.name)
    return {
        "schema": SCHEMA,
        "chosen": choice.name,
        "reason": choice.reason,
        "onnxruntime": onnxruntime.__version__,
        **settings,
        "labelled": tried[0].measures.accuracy is not None,
        "variants": [_variant(one, tried[0].size) for one in tried],
        "float_layers": list(chosen.recipe.floats) if chosen.recipe else [],
        "worst_layers": [str(layer) for layer in layers[:_WORST] if layer.own < _NOISY],
        "layers": [_rounded(asdict(layer)) for layer in layers],
    }


def _variant(one: Variant, reference: int) -> Any:
    facts = {"name": one.name, "precision": one.precision, "bytes": one.size}
    row = {**facts, "size": one.size / reference, **asdict(one.measures)}
    if one.sensitivity:
        row["sensitivity"] = one.sensitivity
    return _rounded(row)


def _rounded(row: Any) -> Any:
    """Numbers with the digits that mean something."""
    if isinstance(row, dict):
        return {name: _rounded(value) for name, value in row.items()}
    return float(f"{row:.6g}") if isinstance(row, float) else row


def speed_of(times: Mapping[str, list[float]]) -> dict[str, Any]:
    """This machine's times of one inference at one thread, taken in turns."""
    shares = ratios(times, REFERENCE)
    return {
        "machine": platform.processor() or platform.machine(),
        "threads": 1,
        "rounds": len(times[REFERENCE]),
        "variants": {
            name: {
                "median_ms": _rounded(statistics.median(taken) * 1e3),
                "p99_ms": _rounded(sorted(taken)[int(0.99 * (len(taken) - 1))] * 1e3),
                "share_of_fp32": _rounded(shares[name]),
            }
            for name, taken in times.items()
        },
    }
