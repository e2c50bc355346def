"""Make the variants of one model and measure each: the costly ways only while the budget fails."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import onnx

from edge_node.prepare import variants
from edge_node.prepare.choice import REFERENCE
from edge_node.prepare.data import Samples
from edge_node.prepare.equalize import equalize
from edge_node.prepare.measure import Logits, Measures, logits_of, measure
from edge_node.prepare.mixed import fewest, quantized_layers, sensitivities
from edge_node.prepare.progress import log
from edge_node.prepare.targets import Target
from edge_node.prepare.variants import Calibration, Method, Static
from protos.artifact import Precision

_ABOUT = 1.1
_SENSING = 32
"""Samples that show how sensitive a layer is."""


@dataclass(frozen=True)
class StaticRecipe:
    """How a static variant is made."""

    static: Static
    ranges: Calibration
    corrected: bool
    equalized: bool = False
    floats: tuple[str, ...] = ()
    """Layers that stay float."""

    @property
    def name(self) -> str:
        words = [f"static {self.ranges}"]
        words += ["equalised"] if self.equalized else []
        words += ["bias-corrected"] if self.corrected else []
        words += [f"{len(self.floats)} layer{'s' * (len(self.floats) > 1)} float"] if self.floats else []
        return ", ".join(words)

    def make(self) -> onnx.ModelProto:
        return self.static.quantize(self.ranges, self.floats, corrected=self.corrected)


@dataclass(frozen=True)
class Variant:
    """One way tried, and what it does to the answers."""

    name: str
    precision: Precision
    model: onnx.ModelProto
    measures: Measures
    recipe: StaticRecipe | None = None
    """Of a static variant."""
    sensitivity: dict[str, float] = field(default_factory=dict)
    """Of each layer, where it had to be measured: how far the answers move when it alone is int8."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.model.ByteSize()


class Search:
    """The variants of one folded float model, all measured on the same samples."""

    def __init__(
        self, folder: Path, model: onnx.ModelProto, target: Target, calibration: Samples, samples: Samples
    ) -> None:
        """``folder`` keeps calibrated ranges."""
        self._folder = folder
        self._target = target
        self._calibration = calibration.inputs
        self._samples = samples
        self.model = model
        log.info("%s: measuring %d samples", REFERENCE, len(samples))
        self.reference: Logits = logits_of(model, samples.inputs)
        self.float = Variant(REFERENCE, "fp32", model, measure(model, self.reference, samples))

    def simple(self, method: Method) -> Variant:
        """fp16, dynamic or weight-only."""
        makers: dict[Method, Callable[[], onnx.ModelProto]] = {
            "fp16": lambda: variants.fp16(self.model),
            "dynamic": lambda: variants.dynamic(self.model, self._target),
            "weight-only": lambda: self._plain.weight_only("minmax"),
        }
        return self._measured(method, variants.PRECISION[method], makers[method]())

    def static(self, ranges: Sequence[Calibration], max_drop: float) -> list[Variant]:
        """Every static variant that had to be tried: layers go back to float if nothing else helps."""
        tried: list[Variant] = []
        for recipe in self._recipes(ranges):
            tried.append(self._static(recipe))
            if recipe.corrected and best(tried, max_drop).measures.drop.value <= max_drop:
                return tried
        return [*tried, self._mixed(best(tried, max_drop), max_drop)]

    def _recipes(self, ranges: Sequence[Calibration]) -> Iterator[StaticRecipe]:
        for one in ranges:
            for static in (self._plain, self._equalized):
                if static is not None:
                    for corrected in (False, True):
                        yield StaticRecipe(static, one, corrected, equalized=static is not self._plain)

    def _static(self, recipe: StaticRecipe, sensitivity: dict[str, float] | None = None) -> Variant:
        made = self._measured(recipe.name, "int8", recipe.make())
        return replace(made, recipe=recipe, sensitivity=sensitivity or {})

    def _mixed(self, base: Variant, max_drop: float) -> Variant:
        """``base`` with the fewest layers in float that keep the budget."""
        recipe = base.recipe
        if recipe is None:
            raise TypeError(base.name)
        layers = quantized_layers(recipe.static.model, base.model)
        sensing = self._samples.inputs[:: max(1, len(self._samples) // _SENSING)]
        moved = sensitivities(recipe.static, recipe.ranges, layers, sensing)
        ranked = sorted(layers, key=lambda layer: -moved[layer])
        chosen = fewest(ranked, lambda floats: self._drop(replace(recipe, floats=tuple(floats))) <= max_drop)
        precision: Precision = "int8" if len(chosen) < len(layers) else "fp32"
        return replace(self._static(replace(recipe, floats=tuple(chosen)), moved), precision=precision)

    def _drop(self, recipe: StaticRecipe) -> float:
        drop = measure(recipe.make(), self.reference, self._samples).drop.value
        log.info("%s: drop %.4f with %s", recipe.name, drop, ", ".join(recipe.floats) or "no layer in float")
        return drop

    def _measured(self, name: str, precision: Precision, model: onnx.ModelProto) -> Variant:
        measures = measure(model, self.reference, self._samples)
        log.info("%s: %.4f agree with fp32, drop %.4f", name, measures.agreement.value, measures.drop.value)
        return Variant(name, precision, model, measures)

    @cached_property
    def _plain(self) -> Static:
        return Static(self._folder / "plain", self.model, self._target, self._calibration)

    @cached_property
    def _equalized(self) -> Static | None:
        model = equalize(self.model, self._calibration)
        if model is None:
            return None
        return Static(self._folder / "equalised", model, self._target, self._calibration)


class Measured(Protocol):
    """Anything that was held to the reference."""

    @property
    def measures(self) -> Measures: ...


Tried = TypeVar("Tried", bound=Measured)


def best(tried: Sequence[Tried], max_drop: float) -> Tried:
    """Of those that keep the budget, else of all, the simplest that is about as close to fp32 as any."""
    kept = [one for one in tried if one.measures.drop.value <= max_drop] or tried
    closest = min(one.measures.distance for one in kept)
    return next(one for one in kept if one.measures.distance <= closest * _ABOUT)
