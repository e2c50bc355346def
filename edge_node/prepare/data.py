"""Samples to quantise and to measure with: checked once, held as one array."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.prepare.errors import DataError
from protos.artifact import Signature, TensorSpec
from protos.codec import DTYPES, Tensor

CALIBRATION = 200
"""Samples that ranges are taken from, at most: more hardly move them."""
CALIBRATION_LEAST = 16
SHARE = 5
"""One sample in so many calibrates, the others measure."""


def _as_it_is(item: Any) -> Any:
    return item


@dataclass(frozen=True)
class Dataset:
    """Any iterable, and what makes an input of one of its items, as in NNCF.

    ``transform(item)`` gives one input without the batch, or ``(input, class)``.
    """

    data_source: Iterable[Any]
    transform: Callable[[Any], Any] = _as_it_is


@dataclass(frozen=True)
class Samples:
    """Inputs (n, ...) in any dtype that the model's holds; labels (n,) class indices, or none."""

    inputs: Tensor
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: NDArray[np.int64]) -> "Samples":
        """The samples of these rows."""
        return Samples(self.inputs[rows], None if self.labels is None else self.labels[rows])


def collect(dataset: Dataset) -> Samples:
    """All items of a dataset as one array; ``DataError`` if they differ in shape or some lack a label."""
    items = [dataset.transform(item) for item in dataset.data_source]
    labelled = [isinstance(item, tuple) for item in items]
    if any(labelled) and not all(labelled):
        raise DataError(f"sample {labelled.index(False)} has no label, others have one")
    inputs = [np.asarray(item[0] if isinstance(item, tuple) else item) for item in items]
    labels = np.array([item[1] for item in items]) if all(labelled) and items else None
    return Samples(stack(inputs), labels)


def stack(inputs: list[Tensor]) -> Tensor:
    """One array of inputs that must all have the shape of the first."""
    if not inputs:
        raise DataError("there are no samples")
    for row, one in enumerate(inputs):
        if one.shape != inputs[0].shape:
            raise DataError(f"sample {row} has shape {one.shape}, sample 0 has {inputs[0].shape}")
    return np.stack(inputs)


def checked(samples: Samples, signature: Signature) -> Samples:
    """The samples in the model's dtype; ``DataError`` says which sample or label does not fit."""
    inputs = _fitting(samples.inputs, signature.input)
    if samples.labels is None:
        return Samples(inputs)
    return Samples(inputs, class_indices(np.asarray(samples.labels), len(inputs), signature.output.shape[1]))


def split(samples: Samples, max_drop: float) -> tuple[Samples, Samples]:
    """(to calibrate with, to measure with): disjoint, both evenly spread, the same on every run."""
    count = len(samples)
    if count < (needed := least(max_drop)):
        seen = math.ceil(1 / max_drop)
        raise DataError(
            f"{count} samples are too few: a drop of {max_drop:g} shows from {seen} on, and ranges need some "
            f"of their own; give at least {needed}, or allow a larger drop"
        )
    calibrating = max(CALIBRATION_LEAST, min(CALIBRATION, count // SHARE)) // 8 * 8
    chosen = np.linspace(0, count - 1, calibrating).round().astype(np.int64)
    return samples.take(chosen), samples.take(np.setdiff1d(np.arange(count), chosen))


def least(max_drop: float) -> int:
    """How many samples it takes to see a drop of ``max_drop`` beside those that calibrate."""
    seen = math.ceil(1 / max_drop)
    return max(seen + CALIBRATION_LEAST, math.ceil(seen * SHARE / (SHARE - 1)))


def _fitting(inputs: Tensor, spec: TensorSpec) -> Tensor:
    wanted = DTYPES[spec.datatype]
    if inputs.ndim < 1 or not spec.fits((1, *inputs.shape[1:])):
        raise DataError(f"a sample has shape {inputs.shape[1:]}, the model takes {spec.shape[1:]}")
    if not np.can_cast(inputs.dtype, wanted, "same_kind"):
        raise DataError(f"samples are {inputs.dtype}, the model takes {wanted}")
    if inputs.dtype.kind == "f" and not (fine := np.isfinite(inputs).reshape(len(inputs), -1).all(1)).all():
        bad = np.flatnonzero(~fine)
        raise DataError(
            f"{len(bad)} of {len(inputs)} samples have NaN or infinite values, first sample {bad[0]}"
        )
    return inputs.astype(wanted, copy=False)


def class_indices(labels: Tensor, count: int, classes: int) -> NDArray[np.int64]:
    """``labels`` (count,) of 0 to ``classes`` - 1; ``DataError`` says which is none."""
    if labels.shape != (count,):
        raise DataError(f"there are {labels.size} labels for {count} samples")
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels are {labels.dtype}, not class indices")
    if len(wrong := np.flatnonzero((labels < 0) | (labels >= classes))):
        raise DataError(
            f"label {labels[wrong[0]]} of sample {wrong[0]} is no class: they are 0 to {classes - 1}"
        )
    return labels.astype(np.int64)
