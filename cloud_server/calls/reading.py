"""A message as it comes off the wire: looked through before it is parsed, and parsed as far as it is new.

Two bytes on the wire can be an empty tensor of a hundred bytes in memory: without a look at how many parts a
message has, one that fits the limit takes fifty times as much. Raw tensors, which protobuf would copy twice,
stay where they lie. And but for them, its id and its parameters a device says the same each time: that is
parsed once. The wire's format: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from google.protobuf.message import DecodeError
from msgspec import Struct

from cloud_server.errors import BadInput
from cloud_server.inference import parameters
from cloud_server.inference.parameters import NONE, Wishes
from cloud_server.inference.question import Asked, Wanted
from protos import codec
from protos import inference_pb2 as pb
from protos.codec import CodecError, Layout, PlainHeader, Tensor

MOST = 4096
"""Tensors and parameters in a message."""
KNOWN, LARGEST = 256, 1024
"""Heads that are remembered, and bytes of the largest of them."""

_NUMBER, _LENGTH, _GROUP, _GROUP_END = 0, 2, 3, 4
_MORE = 0x80
"""Bit of a varint's byte that another follows; most have one."""
_SIZES = {1: 8, 5: 4}
_ID, _PARAMETERS, _RAW = (
    pb.ModelInferRequest.DESCRIPTOR.fields_by_name[name].number << 3 | _LENGTH
    for name in ("id", "parameters", "raw_input_contents")
)


@dataclass(frozen=True)
class Head:
    """All of a request for inference but its id, its parameters and its raw contents."""

    message: pb.ModelInferRequest
    asked: Asked
    filled: str
    """Name of a tensor whose typed contents are here; empty if there is none."""

    @cached_property
    def layouts(self) -> list[Layout]:
        """Of its tensors; ``CodecError`` if one cannot be."""
        return list(map(codec.layout, self.asked.headers))


class Request(Struct, frozen=True):
    """One for inference."""

    head: Head
    wishes: Wishes
    id_field: bytes
    """Its id as it came, so that it can go back as it is."""
    raws: Sequence[memoryview]
    size: int
    """Bytes of it all."""

    def __len__(self) -> int:
        return self.size

    @property
    def id(self) -> str:
        """The caller's own name for it."""
        return pb.ModelInferRequest.FromString(self.id_field).id

    def tensors(self) -> Mapping[str, Tensor]:
        """By name; ``CodecError`` says what is malformed."""
        if not self.raws:
            return codec.request_tensors(self.head.message)
        if self.head.filled:
            raise CodecError(f"tensor {self.head.filled!r}: has both raw and typed contents")
        return codec.raw_tensors(self.head.layouts, self.raws)


class Unread(Struct, frozen=True):
    """A message that is no request."""

    error: Exception
    """Why."""
    size: int
    """Bytes of it."""

    def __len__(self) -> int:
        return self.size


def tried(message: bytes) -> Request | Unread:
    """As ``read``."""
    try:
        return read(message)
    except Exception as error:  # noqa: BLE001 - it is raised where it is looked at
        return Unread(error, len(message))


def found(message: bytes | Request | Unread) -> Request:
    """Of a message that has been tried, or not yet."""
    if isinstance(message, Request):
        return message
    if isinstance(message, Unread):
        raise message.error
    return read(message)


def read(message: bytes) -> Request:
    """``RequestError`` for too many parts, or what is not offered; protobuf's ``DecodeError`` for garbage."""
    view, kept = memoryview(message), 0
    rest: list[bytes] = []
    own: list[bytes] = []
    raws: list[memoryview] = []
    id_field = b""
    for tag, start, value, end in _fields(message):
        if tag == _RAW:
            raws.append(view[value:end])
        elif tag == _ID:
            id_field = message[start:end]
        elif tag == _PARAMETERS:
            own.append(message[start:end])
        else:
            continue
        rest.append(message[kept:start])
        kept = end
    rest.append(message[kept:])
    head = b"".join(rest)
    if not id_field.isascii():
        pb.ModelInferRequest.FromString(id_field)  # is it text?
    return Request(
        (_known_head if len(head) <= LARGEST else _head)(head),
        _wishes(b"".join(own)) if own else NONE,
        id_field,
        raws,
        len(message),
    )


def id_field(message: bytes) -> bytes:
    """A request's id as it came; empty if that cannot be told."""
    try:
        found = b"".join(message[start:end] for tag, start, _, end in _fields(message) if tag == _ID)
        pb.ModelInferRequest.FromString(found)
    except (BadInput, DecodeError):
        return b""
    return found


def check(message: bytes) -> None:
    """``BadInput`` if it has too many parts; garbage is left to who parses it."""
    _fields(message)


def _head(parts: bytes) -> Head:
    message = pb.ModelInferRequest.FromString(parts)
    headers = tuple(PlainHeader(it.name, it.datatype, tuple(it.shape)) for it in message.inputs)
    wanted = (Wanted(it.name, parameters.classes(parameters.plain(it.parameters))) for it in message.outputs)
    return Head(
        message,
        Asked(message.model_name, message.model_version, headers, tuple(wanted)),
        next((it.name for it in message.inputs if codec.filled(it)), ""),
    )


def _wishes(parts: bytes) -> Wishes:
    return parameters.wishes(parameters.plain(pb.ModelInferRequest.FromString(parts).parameters))


_known_head = lru_cache(KNOWN)(_head)


def _fields(message: bytes) -> list[tuple[int, int, int, int]]:
    """Each part of a message: its tag, where it starts, where its value does, where it ends.

    Up to where it is garbage. A group, which no message of ours has, is one part for each in it, with tag 0.
    """
    fields: list[tuple[int, int, int, int]] = []
    at, depth, size = 0, 0, len(message)
    while at < size:
        if len(fields) == MOST:
            raise BadInput(f"the message has more than {MOST} parts")
        start, tag, at = at, message[at], at + 1
        if tag >= _MORE:
            tag, at = _number(message, start)
        kind, value = tag & 7, at
        if kind == _LENGTH:
            at, value = _number(message, at)
            at += value
        elif kind == _NUMBER:
            at = _number(message, at)[1]
        elif kind in _SIZES:
            at += _SIZES[kind]
        elif kind in (_GROUP, _GROUP_END):
            depth += 1 if kind == _GROUP else -1
        else:
            break
        if at > size:
            break
        fields.append((0 if depth else tag, start, value, at))
    return fields


def _number(message: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    if (byte := message[at] if at < len(message) else 0) < _MORE:
        return byte, at + 1
    value = shift = 0
    for byte in message[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _MORE:
            break
        shift += 7
    return value, at
