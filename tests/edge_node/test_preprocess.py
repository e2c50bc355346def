"""What becomes a tensor, and the one line that says why something does not."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edge_node.errors import SampleError
from edge_node.preprocess import for_manifest, payload, payload_bytes
from edge_node.sample import Sample
from protos import image
from protos.artifact import DATATYPES, ImageInput, Manifest, Signature, TensorInput, TensorSpec
from protos.codec import DTYPES, Tensor

SPEC = ImageInput(size=2)
PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def manifest(
    datatype: str = "FP32", *shape: int, preprocessing: TensorInput | ImageInput | None = None
) -> Manifest:
    return Manifest(
        name="m",
        version="1",
        precision="int8",
        signature=Signature(
            input=TensorSpec(name="x", datatype=datatype, shape=(-1, *shape)),
            output=TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),
        ),
        labels=("a", "b"),
        preprocessing=preprocessing or TensorInput(),
        tolerance=0.1,
        files={},
    )


IMAGES = manifest("UINT8", 2, 2, 3, preprocessing=SPEC)


def tensor(data: Any, datatype: str = "FP32", *shape: int) -> Tensor:
    return for_manifest(manifest(datatype, *shape))(Sample("s", data))


def problem(data: Any, datatype: str = "FP32", *shape: int) -> str:
    with pytest.raises(SampleError) as caught:
        tensor(data, datatype, *shape)
    return str(caught.value)


@pytest.mark.parametrize("datatype", sorted(DATATYPES - {"BYTES"}))
def test_raw_bytes_become_the_tensor_that_they_are(datatype: str) -> None:
    sent = np.ones((2, 3), DTYPES[datatype])
    found = tensor(sent.tobytes(), datatype, 2, 3)
    assert found.dtype == DTYPES[datatype]
    assert np.array_equal(found, sent)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool", "float16", "float64"])
def test_numbers_become_the_float_that_the_model_takes(dtype: str) -> None:
    found = tensor(np.array([1, 0], dtype), "FP32", 2)
    assert found.dtype == np.float32
    assert found.tolist() == [1, 0]


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_whole_numbers_become_the_integer_that_the_model_takes(dtype: str) -> None:
    assert tensor(np.array([1, 0], dtype), "INT8", 2).dtype == np.int8


def test_an_array_that_fits_is_not_copied() -> None:
    given = np.ones(2, np.float32)
    assert tensor(given, "FP32", 2) is given


def test_a_size_that_the_model_leaves_open_may_be_any() -> None:
    assert tensor(np.ones((7, 3), np.float32), "FP32", -1, 3).shape == (7, 3)


@pytest.mark.parametrize("data", [np.ones(3), np.ones((1, 2)), np.float64(1), np.ones(0)])
def test_another_shape_is_named_with_the_one_expected(data: Any) -> None:
    assert problem(data, "FP32", 2) == f"shape {list(data.shape)}, the model takes [2]"


@pytest.mark.parametrize(
    ("data", "datatype"),
    [
        (np.array(["a", "b"]), "FP32"),
        (np.array([1 + 2j, 3]), "FP32"),
        (np.array([{}, None]), "FP32"),
        (np.array([0.5, 1.0]), "INT8"),
        (np.array([0.5, 1.0]), "BOOL"),
    ],
)
def test_another_dtype_is_named_with_the_one_expected(data: NDArray[Any], datatype: str) -> None:
    assert problem(data, datatype, 2) == f"dtype {data.dtype}, the model takes {DTYPES[datatype]}"


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_no_finite_float_is_refused(poison: float) -> None:
    assert problem(np.array([1, poison]), "FP32", 2) == "has NaN or infinite values"


def test_raw_nan_is_refused_too() -> None:
    assert problem(np.array([np.nan], "<f4").tobytes(), "FP32", 1) == "has NaN or infinite values"


@pytest.mark.parametrize(
    ("value", "datatype"), [(256, "UINT8"), (-1, "UINT64"), (2**31, "INT32"), (2, "BOOL")]
)
def test_an_integer_that_would_wrap_is_refused(value: int, datatype: str) -> None:
    assert problem(np.array([0, value]), datatype, 2) == f"a value does not fit in {DTYPES[datatype]}"


@given(hnp.arrays(np.int64, 3))
def test_integers_arrive_unchanged_or_are_refused(data: NDArray[np.int64]) -> None:
    try:
        assert np.array_equal(tensor(data, "INT16", 3), data)
    except SampleError:
        assert data.min() < -(2**15) or data.max() >= 2**15


def test_raw_bytes_of_another_size_are_refused() -> None:
    assert problem(b"\0" * 7, "FP32", 2) == "7 raw bytes, float32 [2] needs 8"


def test_raw_bytes_cannot_say_an_open_size() -> None:
    assert problem(b"\0" * 8, "FP32", -1) == (
        "raw bytes cannot say the shape that this model leaves open; send JSON"
    )


def test_the_error_of_a_source_stays_the_error() -> None:
    assert problem(SampleError("not JSON"), "FP32", 2) == "not JSON"


def test_a_tensor_travels_as_it_is_with_a_batch_axis() -> None:
    given = np.ones(2, np.float32)
    sent = payload(Sample("s", given), given, manifest("FP32", 2))
    assert np.array_equal(sent, [[1, 1]])
    assert payload_bytes(Sample("s", given), given, manifest("FP32", 2)) == 8


def test_an_image_is_decoded_and_travels_encoded() -> None:
    sample = Sample("s", image.encode(PIXELS))
    pixels = for_manifest(IMAGES)(sample)
    sent = payload(sample, pixels, IMAGES)
    assert np.array_equal(pixels, PIXELS)
    assert sent.shape == (1,)
    assert sent[0] == sample.data
    assert payload_bytes(sample, pixels, IMAGES) == 4 + len(image.encode(PIXELS))


def test_pixels_are_an_image_too() -> None:
    sample = Sample("s", PIXELS)
    pixels = for_manifest(IMAGES)(sample)
    assert np.array_equal(pixels, PIXELS)
    sent = payload(sample, pixels, IMAGES)[0]
    assert np.array_equal(image.decode(sent, SPEC), PIXELS)
    assert payload_bytes(sample, pixels, IMAGES) == 4 + len(sent), "as it is sent, not as it was given"
    other = Sample("other", 255 - PIXELS)
    assert np.array_equal(image.decode(payload(other, pixels, IMAGES)[0], SPEC), 255 - PIXELS)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"not an image", "neither a JPEG nor a PNG image"),
        (np.zeros((2, 2, 3)), "an image is uint8"),
        (SampleError("gone"), "gone"),
    ],
)
def test_an_image_that_is_none_is_refused(data: Any, complaint: str) -> None:
    with pytest.raises(SampleError, match=f"^{complaint}"):
        for_manifest(IMAGES)(Sample("s", data))
