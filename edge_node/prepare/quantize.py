"""From any fp32 classifier to the variant that keeps the accuracy budget and is fastest here."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import onnx

from edge_node.prepare import graph, targets
from edge_node.prepare.choice import REFERENCE, Candidate, Choice, choose, named
from edge_node.prepare.data import Dataset, Samples, checked, collect, split
from edge_node.prepare.errors import GraphError, PrepareError
from edge_node.prepare.layers import Layer, layers_of
from edge_node.prepare.measure import interleaved, ratios
from edge_node.prepare.progress import log
from edge_node.prepare.quantized import Quantized
from edge_node.prepare.report import report_of, speed_of
from edge_node.prepare.search import Search, Variant, best
from edge_node.prepare.variants import Calibration, Method
from protos.artifact import Precision

Ways = Literal["auto", "static", "dynamic", "weight-only", "fp16"]
Ranges = Literal["auto", "minmax", "percentile", "entropy"]
_SIMPLE: tuple[Method, ...] = ("fp16", "weight-only", "dynamic")


def quantize(  # noqa: PLR0913 - the call of NNCF, with the options of the command
    model: Path | onnx.ModelProto,
    dataset: Dataset | Samples,
    *,
    max_drop: float = 0.01,
    target: str = "auto",
    method: Ways = "auto",
    ranges: Ranges = "auto",
) -> Quantized:
    """Try the ways to quantise ``model`` and choose one; ``PrepareError`` says what cannot be used.

    ``model``: fp32, one input, one output of logits (batch, classes). ``dataset``: a fifth calibrates,
    the rest measures. ``max_drop``: accuracy that may be lost, as a share; without labels, the share of
    answers that may change. A ``method`` asked for by name wins if it keeps that budget, even if slow.
    """
    if not 0 < max_drop < 1:
        raise PrepareError(f"a drop of {max_drop:g} is no share between 0 and 1")
    aim = targets.resolve(target)
    name = str(model) if isinstance(model, Path) else "the model"
    folded = graph.fold(graph.load(model) if isinstance(model, Path) else graph.check(model), name)
    samples = collect(dataset) if isinstance(dataset, Dataset) else dataset
    calibration, measuring = split(checked(samples, graph.signature(folded, name)), max_drop)
    with tempfile.TemporaryDirectory() as folder:
        search = Search(Path(folder), folded, aim, calibration, measuring)
        tried = _try(search, method, get_args(Calibration) if ranges == "auto" else (ranges,), max_drop)
        layers = _layers(tried, max_drop, measuring)
    finalists = _finalists(tried, max_drop)
    times = _times(finalists, measuring, max_drop) if aim.name == targets.host() else None
    choice = _choose(finalists, times, method, max_drop)
    chosen = next(one for one in tried if one.name == choice.name)
    settings = {
        "target": aim.name,
        "max_drop": max_drop,
        "samples": {"calibration": len(calibration), "measured": len(measuring)},
    }
    return Quantized(
        precision=chosen.precision,
        forms=_forms(chosen, finalists, max_drop),
        choice=choice,
        report=report_of(settings, tried, choice, layers),
        speed=speed_of(times) if times else None,
        samples=measuring,
    )


def _forms(
    chosen: Variant, finalists: Sequence[Variant], max_drop: float
) -> dict[Precision, onnx.ModelProto]:
    forms = {chosen.precision: chosen.model}
    for one in finalists:
        if one.measures.drop.value <= max_drop:
            forms.setdefault(one.precision, one.model)
    return forms


def _try(search: Search, method: Ways, ranges: Sequence[Calibration], max_drop: float) -> list[Variant]:
    """fp32 first, then all variants of the method, or of all."""
    tried = [search.float]
    if method in ("auto", "static"):
        tried += search.static(ranges, max_drop)
    return tried + [
        made for way in _SIMPLE if method in ("auto", way) and (made := _simple(search, way, method))
    ]


def _simple(search: Search, way: Method, method: Ways) -> Variant | None:
    """None for a way that the library does not know for this model and that was not asked for by name."""
    try:
        return search.simple(way)
    except GraphError as error:
        if method == way:
            raise
        log.warning("%s is left out: %s", way, error)
        return None


def _finalists(tried: Sequence[Variant], max_drop: float) -> list[Variant]:
    """The best static variant, since all are equally fast; the others; fp32."""
    static = [one for one in tried if one.recipe and one.precision == "int8"]
    others = [one for one in tried if not one.recipe]
    return [*([best(static, max_drop)] if static else []), *others[1:], others[0]]


def _layers(tried: Sequence[Variant], max_drop: float, samples: Samples) -> list[Layer]:
    """Of the best variant that has no layer in float, so that a bad one shows."""
    plain = [one for one in tried if one.recipe and not one.recipe.floats]
    if not plain or (recipe := (one := best(plain, max_drop)).recipe) is None:
        return []
    return layers_of(recipe.static.model, one.model, samples.inputs)


def _times(finalists: Sequence[Variant], samples: Samples, max_drop: float) -> dict[str, list[float]]:
    """Of those that may be chosen: a slow one that may not would take the rounds of the others."""
    kept = [one for one in finalists if one.measures.drop.value <= max_drop]
    log.info("timing %s", ", ".join(one.name for one in kept))
    return interleaved({one.name: one.model for one in kept}, samples.inputs[0])


def _choose(
    finalists: Sequence[Variant], times: Mapping[str, list[float]] | None, method: Ways, max_drop: float
) -> Choice:
    shares = ratios(times, REFERENCE) if times else {}
    candidates = [
        Candidate(one.name, one.precision, one.measures.drop.value, one.size, shares.get(one.name))
        for one in finalists
    ]
    if method == "auto":
        return choose(candidates, max_drop)
    if candidates[0].name == REFERENCE or candidates[0].drop > max_drop:
        raise PrepareError(_missed(method, candidates[0], max_drop))
    return named(candidates[0], max_drop)


def _missed(method: Ways, candidate: Candidate, max_drop: float) -> str:
    if candidate.name == REFERENCE:
        return (
            f"--method {method}: no layer can be int8 with a drop of {max_drop:g} at most; allow a larger one"
        )
    return (
        f"--method {method} drops {candidate.drop:.4f}, more than {max_drop:g}: "
        "allow a larger --max-drop, or let --method auto choose"
    )
