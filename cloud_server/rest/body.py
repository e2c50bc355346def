"""Requests and responses as HTTP carries them: JSON, and of inference then the tensors that are binary.

The header ``Inference-Header-Content-Length`` says where the JSON ends.
"""

import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec

from cloud_server.errors import BadInput, TooLarge
from cloud_server.inference import parameters
from cloud_server.inference.answering import Answer
from cloud_server.inference.question import Asked, Question, Wanted
from protos import codec
from protos import inference_pb2 as pb
from protos.codec import PlainHeader, Tensor

PLAIN = "identity"
PACKED = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""By ``Content-Encoding``, what zlib calls it."""
SIZE = "binary_data_size"
T = TypeVar("T")


class Given(msgspec.Struct):
    """A tensor that comes."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = None


class Output(msgspec.Struct):
    """A tensor that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class Request(msgspec.Struct):
    """The JSON of a request; what else is in it is passed over."""

    inputs: list[Given]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[Output] = []

    def binary(self, output: str) -> bool:
        """Whether this output is to come as bytes."""
        every = self.parameters.get("binary_data_output", False)
        asked = {it.name: it.parameters.get("binary_data", every) for it in self.outputs}
        return asked.get(output, every) is True


class Said(msgspec.Struct):
    """The JSON of any other request; what else is in it is passed over."""

    ready: bool = False
    parameters: dict[str, Any] = {}


_REQUEST, _SAID = msgspec.json.Decoder(Request), msgspec.json.Decoder(Said)


def unpacked(body: bytes, packing: str, most: int) -> bytes:
    """The body before it was packed, so or not at all. No more than ``most`` bytes come out."""
    if packing == PLAIN:
        return body
    unpacking = zlib.decompressobj(PACKED[packing])
    try:
        found = unpacking.decompress(body, most + 1)
    except zlib.error as error:
        raise BadInput(f"Content-Encoding: the body is no {packing}: {error}") from None
    if len(found) > most:
        raise TooLarge("the body, unpacked,", most)
    if not unpacking.eof or unpacking.unused_data:
        raise BadInput(f"Content-Encoding: the body is not one whole {packing}")
    return found


def read(model: str, version: str, body: bytes, end: int) -> tuple[Request, Question]:
    """A request, and what it asks; ``BadInput`` if it is none. ``end``: of the JSON."""
    if not 0 <= end <= len(body):
        raise BadInput(f"Inference-Header-Content-Length: {end}, the body has {len(body)} bytes")
    request = _decoded(_REQUEST, body[:end] if end < len(body) else body, "inference request")
    headers = tuple(PlainHeader(it.name, it.datatype, tuple(it.shape)) for it in request.inputs)
    wanted = tuple(Wanted(it.name, parameters.classes(it.parameters)) for it in request.outputs)
    call = parameters.call(parameters.wishes(request.parameters))
    tensors = partial(_tensors, request, body, end)
    return request, Question(Asked(model, version, headers, wanted), len(body), tensors, call)


def said(body: bytes) -> dict[str, Any]:
    """By field, what any other request says, which may be nothing; ``BadInput`` if it is none."""
    found = _decoded(_SAID, body or b"{}", "request")
    return {
        "ready": found.ready,
        "parameters": {name: pb.ModelRepositoryParameter() for name in found.parameters},  # none is taken
    }


def write(request: Request, answer: Answer) -> tuple[bytes, int | None]:
    """The body of a response, and the size of its JSON if there is more behind it."""
    raws = {name: codec.to_bytes(array) for name, array in answer.tensors.items() if request.binary(name)}
    outputs = [_output(name, array, raws.get(name)) for name, array in answer.tensors.items()]
    card = answer.card
    head = {"model_name": card.name, "model_version": card.version, "outputs": outputs}
    if request.id:
        head["id"] = request.id
    text = msgspec.json.encode(head)
    return b"".join([text, *raws.values()]), len(text) if raws else None


def _decoded(decoder: msgspec.json.Decoder[T], text: bytes, what: str) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadInput(f"the JSON is no {what}: {error}") from None


def _tensors(request: Request, body: bytes, at: int) -> Mapping[str, Tensor]:
    arrays: dict[str, Tensor] = {}
    for given in request.inputs:
        if given.name in arrays:
            raise BadInput(f"tensor {given.name!r} is given twice")
        if SIZE not in given.parameters:
            arrays[given.name] = codec.from_json(given, given.data)
            continue
        start, at = at, at + parameters.number(given.parameters, SIZE)
        if at > len(body) or given.data is not None:
            raise BadInput(f"tensor {given.name!r}: {SIZE} is more than there is, or not all there is")
        arrays[given.name] = codec.from_raw(given, memoryview(body)[start:at])
    if at != len(body):
        raise BadInput(f"{len(body) - at} bytes are behind the last tensor")
    return arrays


def _output(name: str, array: Tensor, raw: bytes | None) -> dict[str, Any]:
    head = {"name": name, "datatype": codec.datatype(array.dtype), "shape": array.shape}
    if raw is None:
        return head | {"data": codec.to_json(name, array)}
    return head | {"parameters": {SIZE: len(raw)}}
