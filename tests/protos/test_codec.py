"""Arrays survive the wire bit by bit, and whatever else arrives is a ``CodecError`` that says why."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protos import codec
from protos import inference_pb2 as pb
from protos.codec import DTYPES, CodecError, Tensor

Header = pb.ModelInferRequest.InferInputTensor

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
NUMBERS = st.sampled_from([dtype for dtype in DTYPES.values() if not dtype.hasobject])
BIG_ENDIAN = st.sampled_from([dtype.newbyteorder(">") for dtype in DTYPES.values() if dtype.kind in "iuf"])
TENSORS = st.one_of(
    hnp.arrays(NUMBERS, SHAPES), hnp.arrays(DTYPES["BYTES"], SHAPES, elements=st.binary(max_size=9))
)


def same(one: Tensor, other: Tensor) -> bool:
    """Equal in dtype, shape and every bit, NaN included."""
    return (one.dtype, one.shape, codec.to_bytes(one)) == (other.dtype, other.shape, codec.to_bytes(other))


def over_the_wire(message: pb.ModelInferRequest) -> pb.ModelInferRequest:
    return pb.ModelInferRequest.FromString(message.SerializeToString())


def message(*tensors: Header, raw: tuple[bytes, ...] = ()) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(inputs=tensors, raw_input_contents=raw)


def header(datatype: str = "FP32", shape: tuple[int, ...] = (2,), name: str = "x", **contents: Any) -> Header:
    typed = pb.InferTensorContents(**contents) if contents else None
    return Header(name=name, datatype=datatype, shape=shape, contents=typed)


@given(st.dictionaries(st.text(max_size=5), TENSORS, max_size=3))
def test_a_request_carries_every_array_as_it_is(tensors: dict[str, Tensor]) -> None:
    sent = codec.request("model", tensors, request_id="7")
    arrived = over_the_wire(sent)
    assert (arrived.model_name, arrived.id) == ("model", "7")
    found = codec.request_tensors(arrived)
    assert list(found) == list(tensors)
    assert all(same(found[name], array) for name, array in tensors.items())


@given(TENSORS, st.booleans())
def test_a_response_carries_every_array_raw_or_typed(array: Tensor, typed: bool) -> None:  # noqa: FBT001
    sent = codec.response("model", "1", "7", {"y": array}, typed=typed)
    arrived = pb.ModelInferResponse.FromString(sent.SerializeToString())
    assert same(codec.response_tensors(arrived)["y"], array)


def test_typed_contents_are_sent_when_asked_for_unless_the_protocol_has_no_field() -> None:
    array = np.ones(2, np.float32)
    assert not codec.response("m", "1", "", {"y": array}, typed=True).raw_output_contents
    assert codec.response("m", "1", "", {"y": array.astype(np.float16)}, typed=True).raw_output_contents


@given(hnp.arrays(BIG_ENDIAN, SHAPES))
def test_big_endian_arrays_travel_little_endian(array: Tensor) -> None:
    found = codec.request_tensors(codec.request("m", {"x": array}))["x"]
    assert found.dtype == array.dtype.newbyteorder("<")
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


def test_a_raw_tensor_is_a_view_of_the_message() -> None:
    found = codec.request_tensors(codec.request("m", {"x": np.zeros(3, np.float32)}))["x"]
    assert not found.flags.owndata


def test_typed_contents_that_are_there_but_empty_do_not_contradict_raw_ones() -> None:
    """MLServer answers so."""
    sent = message(header(fp32_contents=[]), raw=(np.ones(2, np.float32).tobytes(),))
    assert sent.inputs[0].HasField("contents")
    assert codec.request_tensors(sent)["x"].tolist() == [1, 1]


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "U3", "longdouble"])
def test_a_dtype_that_the_protocol_lacks_is_named(dtype: str) -> None:
    with pytest.raises(CodecError, match=r"dtype .* has no Open Inference Protocol datatype"):
        codec.datatype(dtype)


MALFORMED = {
    "raw contents for some tensors only": (
        message(header(), header(name="y"), raw=(b"\0" * 8,)),
        "1 raw contents for 2 tensors",
    ),
    "a tensor twice": (message(header(), header(), raw=(b"\0" * 8,) * 2), "tensor 'x' is given twice"),
    "an unknown datatype": (
        message(header("FP8"), raw=(b"\0" * 4,)),
        "tensor 'x': unknown datatype 'FP8'",
    ),
    "raw and typed contents": (
        message(header(fp32_contents=[1, 2]), raw=(b"\0" * 8,)),
        "tensor 'x': has both raw and typed contents",
    ),
    "a negative dimension": (
        message(header(shape=(-1, 2)), raw=(b"",)),
        r"tensor 'x': negative dimension in shape \[-1, 2\]",
    ),
    "raw bytes of another size": (
        message(header(), raw=(b"\0" * 7,)),
        r"tensor 'x': 7 raw bytes, FP32 of shape \[2\] needs 8",
    ),
    "a shape whose product overflows": (
        message(header(shape=(2**62, 4)), raw=(b"",)),
        r"tensor 'x': 0 raw bytes, FP32 of shape \[4611686018427387904, 4\] needs 73786976294838206464",
    ),
    "an empty tensor that is too large all the same": (
        message(header(shape=(0, 2**62, 2**62)), raw=(b"",)),
        r"tensor 'x': impossible shape \[0, 4611686018427387904, 4611686018427387904\]",
    ),
    "too many dimensions": (
        message(header(shape=(1,) * 65), raw=(b"\0" * 4,)),
        r"tensor 'x': impossible shape of 65 dimensions",
    ),
    "too few typed elements": (
        message(header(fp32_contents=[1.0])),
        r"tensor 'x': 1 elements, shape \[2\] needs 2",
    ),
    "typed contents in another field": (
        message(header(int_contents=[1, 2])),
        r"tensor 'x': 0 elements, shape \[2\] needs 2",
    ),
    "a typed value that does not fit": (
        message(header("INT8", int_contents=[1, 128])),
        "tensor 'x': a value does not fit in INT8",
    ),
    "a typed negative value of an unsigned datatype": (
        message(header("UINT8", uint_contents=[1, 256])),
        "tensor 'x': a value does not fit in UINT8",
    ),
    "typed contents of a datatype without a field": (
        message(header("FP16", fp32_contents=[1, 2])),
        "tensor 'x': FP16 can only travel as raw contents",
    ),
    "a BYTES element past the end": (
        message(header("BYTES", (1,)), raw=(b"\x05\0\0\0four",)),
        "tensor 'x': BYTES element runs past the end of its raw contents",
    ),
    "a BYTES length cut short": (
        message(header("BYTES", (1,)), raw=(b"\0\0",)),
        "tensor 'x': BYTES element runs past the end of its raw contents",
    ),
    "more BYTES elements than it says": (
        message(header("BYTES", (1,)), raw=(bytes(4_000_000),)),
        r"tensor 'x': 2 elements, shape \[1\] needs 1",
    ),
    "thousands of dimensions": (
        message(header("FP32", (2**62,) * 5000), raw=(b"",)),
        "tensor 'x': impossible shape of 5000 dimensions",
    ),
    "too few BYTES elements": (
        message(header("BYTES"), raw=(b"\x01\0\0\0a",)),
        r"tensor 'x': 1 elements, shape \[2\] needs 2",
    ),
}


@pytest.mark.parametrize(("sent", "problem"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_tensor_is_named_with_what_is_wrong(sent: pb.ModelInferRequest, problem: str) -> None:
    with pytest.raises(CodecError, match=f"^{problem}$"):
        codec.request_tensors(over_the_wire(sent))


@given(
    datatype=st.sampled_from([*DTYPES, "FP8", ""]),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), max_size=70),
    raw=st.binary(max_size=40) | st.none(),
)
def test_any_header_and_contents_is_a_tensor_or_a_codec_error(
    datatype: str, shape: list[int], raw: bytes | None
) -> None:
    sent = message(header(datatype, tuple(shape)), raw=() if raw is None else (raw,))
    try:
        assert codec.request_tensors(over_the_wire(sent))["x"].shape == tuple(shape)
    except CodecError as error:
        assert "tensor 'x'" in str(error)  # noqa: PT017 - either of the two is right


@given(st.data())
def test_a_damaged_message_is_never_another_exception(data: st.DataObject) -> None:
    whole = codec.request("m", {"x": np.zeros(2, np.float32), "y": np.zeros((1, 2), np.int8)})
    damaged = bytearray(whole.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        codec.request_tensors(pb.ModelInferRequest.FromString(bytes(damaged)))
    except (CodecError, DecodeError) as error:
        assert str(error)  # noqa: PT017 - most damage is one of the two
