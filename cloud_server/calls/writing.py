"""A response as it goes onto the wire: what a model says the same each time is written once.

Its id goes back as it came, and raw contents are copied once, behind what says how long they are. The wire's
format: https://protobuf.dev/programming-guides/encoding; what stands in several pieces is one message to it.
"""

from collections.abc import Mapping
from functools import lru_cache

from grpc import StatusCode

from cloud_server.calls.reading import Request
from cloud_server.inference.answering import Answer
from protos import codec
from protos import inference_pb2 as pb
from protos.identity import MODEL_SHA256

KNOWN = 256
"""Heads that are remembered."""

_FINAL = pb.ModelInferResponse(
    parameters={"triton_final_response": pb.InferParameter(bool_param=True)}
).SerializeToString()
"""No other response to this request follows."""
Said = tuple[str, str, tuple[int, ...]]
"""Name, datatype and shape of a tensor."""
Facts = Mapping[str, str]
_LENGTH = 2
_RAW = bytes([pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER << 3 | _LENGTH])
_INFERRED = bytes([pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER << 3 | _LENGTH])


def response(request: Request, answer: Answer) -> bytes:
    """A ``ModelInferResponse``: raw to raw contents, typed to typed, with the facts as parameters."""
    card, tensors = answer.card, answer.tensors
    if not request.raws:
        typed = codec.response(card.name, card.version, request.id, tensors, typed=True)
        _say(typed, {MODEL_SHA256: card.sha256, **answer.timing})
        return typed.SerializeToString()
    said: list[Said] = []
    own = pb.ModelInferResponse()
    _say(own, answer.timing)
    parts = [own.SerializeToString(), request.id_field]
    for name, array in tensors.items():
        raw = codec.to_bytes(array)
        parts += _RAW, _length(len(raw)), raw
        said.append((name, codec.datatype(array.dtype), array.shape))
    return b"".join((_head(card.name, card.version, card.sha256, *said), *parts))


def streamed(request: Request, answer: Answer) -> bytes:
    """A ``ModelStreamInferResponse`` of it."""
    whole = response(request, answer) + _FINAL
    return b"".join((_INFERRED, _length(len(whole)), whole))


def refused(id_field: bytes, code: StatusCode, details: str, hints: Facts) -> bytes:
    """A ``ModelStreamInferResponse`` that says why the request of this id is not answered."""
    said = pb.ModelStreamInferResponse(error_message=f"{code.name}: {details}")
    said.infer_response.MergeFromString(id_field)
    _say(said.infer_response, hints)
    return said.SerializeToString()


def _say(response: pb.ModelInferResponse, facts: Facts) -> None:
    for name, value in facts.items():
        response.parameters[name].string_param = value


@lru_cache(KNOWN)
def _head(model: str, version: str, sha256: str, *said: Said) -> bytes:
    """All that a model says each time."""
    head = pb.ModelInferResponse(model_name=model, model_version=version)
    _say(head, {MODEL_SHA256: sha256})
    for name, datatype, shape in said:
        head.outputs.add(name=name, datatype=datatype, shape=shape)
    return head.SerializeToString()


@lru_cache(KNOWN)
def _length(number: int) -> bytes:
    """As a varint."""
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + _length(number >> 7)
