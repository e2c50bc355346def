"""Samples: what fits, and one line for what does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.prepare.data import Dataset, Samples, checked, collect, least, split
from edge_node.prepare.errors import DataError
from protos.artifact import Signature, TensorSpec

SIGNATURE = Signature(
    input=TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),
    output=TensorSpec(name="logits", datatype="FP32", shape=(-1, 3)),
)


def rows(count: int = 200) -> Samples:
    return Samples(np.arange(count * 4.0).reshape(count, 4), np.arange(count) % 3)


def test_samples_come_out_in_the_dtype_of_the_model() -> None:
    found = checked(rows(), SIGNATURE)
    assert found.inputs.dtype == np.float32
    assert found.labels is not None


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        (Samples(np.zeros((9, 5))), r"a sample has shape \(5,\), the model takes \(4,\)"),
        (Samples(np.zeros((9, 4), complex)), "samples are complex128, the model takes float32"),
        (Samples(np.array([["a"] * 4])), "samples are <U1, the model takes float32"),
        (
            Samples(np.array([[0, 0, 0, 0], [0, np.nan, 0, 0.0]])),
            "1 of 2 samples have NaN or infinite values, first sample 1",
        ),
        (Samples(np.zeros((3, 4)), np.array([0, 1])), "there are 2 labels for 3 samples"),
        (Samples(np.zeros((3, 4)), np.array([0, 1, 3])), "label 3 of sample 2 is no class: they are 0 to 2"),
        (
            Samples(np.zeros((3, 4)), np.array([0, -1, 2])),
            "label -1 of sample 1 is no class: they are 0 to 2",
        ),
        (Samples(np.zeros((2, 4)), np.array([0.5, 1])), "labels are float64, not class indices"),
    ],
)
def test_what_does_not_fit_is_one_line(samples: Samples, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        checked(samples, SIGNATURE)


def test_too_few_samples_say_how_many_it_takes() -> None:
    with pytest.raises(DataError, match=r"^3 samples are too few: .* 100 on, .* give at least 125"):
        split(rows(3), 0.01)


@given(st.integers(16, 3000), st.floats(0.001, 0.5))
def test_a_split_is_disjoint_and_leaves_enough_to_see_the_drop(count: int, max_drop: float) -> None:
    samples = Samples(np.arange(count))
    if count < least(max_drop):
        with pytest.raises(DataError):
            split(samples, max_drop)
        return
    calibration, measuring = split(samples, max_drop)
    assert sorted([*calibration.inputs, *measuring.inputs]) == list(range(count))
    assert len(calibration) % 8 == 0
    assert len(calibration) >= 16
    assert len(measuring) * max_drop >= 1


def test_samples_sorted_by_class_calibrate_with_all_classes() -> None:
    calibration, _ = split(Samples(np.zeros((300, 4)), np.repeat([0, 1, 2], 100)), 0.01)
    assert set(np.asarray(calibration.labels)) == {0, 1, 2}


def test_items_of_a_dataset_agree_in_shape_and_in_having_labels() -> None:
    assert collect(Dataset(range(3), lambda item: np.full(4, item))).inputs.shape == (3, 4)
    with pytest.raises(DataError, match=r"sample 2 has shape \(3,\), sample 0 has \(1,\)"):
        collect(Dataset([1, 1, 3], np.zeros))
    with pytest.raises(DataError, match=r"sample 1 has no label, others have one"):
        collect(Dataset([(1, 0), 1]))
    with pytest.raises(DataError, match=r"there are no samples"):
        collect(Dataset([]))
