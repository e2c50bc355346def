"""A request read in parts is what protobuf reads as a whole."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as some

from cloud_server.calls import reading
from cloud_server.calls.reading import MOST, read
from cloud_server.errors import BadInput
from cloud_server.inference import parameters
from protos import codec
from protos import inference_pb2 as pb

DTYPES = some.sampled_from([np.float32, np.float64, np.int8, np.int64, np.uint16])
arrays = some.builds(lambda count, dtype: np.arange(count).astype(dtype), some.integers(0, 2000), DTYPES)
GROUP = b"\x43\x3a\x01x\x44"
"""Field 8, unknown, as a group with what would be raw contents in it."""


@some.composite
def requests(draw: some.DrawFn) -> pb.ModelInferRequest:
    tensors = draw(some.dictionaries(some.text(max_size=9), arrays, max_size=3))
    request = codec.request(draw(some.text(max_size=200)), tensors, request_id=draw(some.text(max_size=9)))
    request.model_version = draw(some.text(max_size=3))
    names = some.sampled_from(["timeout", "priority"]) | some.text(max_size=9)
    for name, value in draw(some.dictionaries(names, some.integers(0, 9), max_size=3)).items():
        request.parameters[name].int64_param = value
    for name in draw(some.lists(some.text(max_size=9), max_size=2)):
        request.outputs.add(name=name)
    return request


def same(message: bytes) -> None:
    """What we read is what protobuf does."""
    whole, found = pb.ModelInferRequest.FromString(message), read(message)
    put_together = pb.ModelInferRequest()
    put_together.CopyFrom(found.head.message)
    put_together.MergeFrom(pb.ModelInferRequest.FromString(found.id_field))
    put_together.raw_input_contents.extend(map(bytes, found.raws))
    put_together.DiscardUnknownFields()
    whole.DiscardUnknownFields()
    assert found.wishes == parameters.wishes(parameters.plain(whole.parameters))
    whole.parameters.clear()
    assert put_together == whole
    assert found.size == len(message)
    for name, array in codec.request_tensors(whole).items():
        assert np.array_equal(found.tensors()[name], array)
        assert found.tensors()[name].flags.aligned


@given(requests())
def test_whatever_its_parts(request: pb.ModelInferRequest) -> None:
    same(request.SerializeToString())


@given(requests(), requests())
def test_two_that_follow_each_other_are_one(one: pb.ModelInferRequest, other: pb.ModelInferRequest) -> None:
    del other.inputs[:], other.raw_input_contents[:]
    same(one.SerializeToString() + other.SerializeToString())
    same(other.SerializeToString() + one.SerializeToString())


def test_a_group_is_passed_over_with_all_that_is_in_it() -> None:
    request = codec.request("m", {"x": np.ones(3, np.float32)}).SerializeToString()
    same(GROUP + request)
    same(request + GROUP)


@given(requests(), some.data())
def test_what_is_cut_off_is_garbage_to_both(request: pb.ModelInferRequest, data: some.DataObject) -> None:
    message = request.SerializeToString()
    cut = message[: data.draw(some.integers(0, len(message)))]
    try:
        pb.ModelInferRequest.FromString(cut)
    except DecodeError:
        with pytest.raises(DecodeError):
            read(cut)
    else:
        read(cut)


@given(some.binary(max_size=300))
def test_garbage_is_refused_or_read_and_nothing_else(message: bytes) -> None:
    try:
        read(message)
    except (DecodeError, BadInput):
        with pytest.raises(DecodeError):
            pb.ModelInferRequest.FromString(message)


def test_what_is_the_same_each_time_is_parsed_once() -> None:
    tensor = np.ones((1, 3), np.float32)
    one, other = (
        read(codec.request("m", {"x": tensor * number}, request_id=f"{number}").SerializeToString())
        for number in (1, 2)
    )
    assert one.head is other.head
    assert (one.id, other.id) == ("1", "2")
    assert other.tensors()["x"].tolist() == [[2, 2, 2]]


def test_large_heads_are_not_kept() -> None:
    message = codec.request("m" * reading.LARGEST, {}).SerializeToString()
    assert read(message).head is not read(message).head


def test_too_many_parts_are_refused_before_they_are_parsed() -> None:
    part = pb.ModelInferRequest(raw_input_contents=[b""]).SerializeToString()
    assert len(read(part * MOST).raws) == MOST
    with pytest.raises(BadInput, match=f"more than {MOST} parts"):
        read(part * (MOST + 1))
