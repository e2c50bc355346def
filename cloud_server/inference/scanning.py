"""What an ONNX file would reach for, read before anything runs it: other files, operators that are not ours.

protobuf itself reads the few fields that matter, from a table of their numbers: ``onnx`` would be 40 MB
and a parser of its own to trust, onnxruntime tells only once it has opened what the file names.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from cloud_server.errors import ModelError

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Whose operators onnxruntime itself has."""
READS_FILES = frozenset({"EPContext"})
"""Operators that open a file which the model names."""

_EXTERNAL = 1  # TensorProto.DataLocation
_SCHEMA = {
    "Model": {"graph": (7, "Graph"), "training_info": (20, "Training"), "functions": (25, "Function")},
    "Training": {"initialization": (1, "Graph"), "algorithm": (2, "Graph")},
    "Function": {"name": (1, ""), "node": (7, "Node"), "domain": (10, ""), "attribute": (11, "Attribute")},
    "Graph": {"node": (1, "Node"), "initializer": (5, "Tensor"), "sparse_initializer": (15, "Sparse")},
    "Node": {"op_type": (4, ""), "attribute": (5, "Attribute"), "domain": (7, "")},
    "Attribute": {
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "tensors": (10, "Tensor"),
        "graphs": (11, "Graph"),
        "sparse_tensor": (22, "Sparse"),
        "sparse_tensors": (23, "Sparse"),
    },
    "Sparse": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
    "Tensor": {"name": (8, ""), "external_data": (13, "Entry"), "data_location": (14, "enum")},
    "Entry": {"key": (1, ""), "value": (2, "")},
}
"""Fields of onnx.proto by number. All that is not text is read as repeated: files may lie about that."""


def scan(path: Path, files: frozenset[str] = frozenset()) -> None:
    """``ModelError`` if the file is no model, runs foreign operators, or reads others than ``files``."""
    try:
        model = _parser().FromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise ModelError(path, f"is no ONNX model that can run here: {_reason(error)}") from None
    if not model.graph:
        raise ModelError(path, "is no ONNX model that can run here: it holds no graph")
    own = {(function.domain, function.name) for function in model.functions}
    for kind, part in _parts(model):
        if kind == "Tensor":
            _check_data(path, part, files)
        elif kind == "Node":
            _check_operator(path, part, own)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "truncated, nested too deep, or something else altogether"


def _check_data(path: Path, tensor: Any, files: frozenset[str]) -> None:
    if not tensor.external_data and _EXTERNAL not in tensor.data_location:
        return
    locations = [_text(entry.value) for entry in tensor.external_data if entry.key == b"location"]
    if not locations or not files.issuperset(locations):
        raise ModelError(
            path,
            f"tensor {_text(tensor.name)!r} has its data in another file, {', '.join(locations)!r}: "
            "only an artifact may, and must list it in its manifest",
        )


def _check_operator(path: Path, node: Any, own: set[tuple[bytes, bytes]]) -> None:
    name, domain = _text(node.op_type), _text(node.domain)
    if domain not in DOMAINS and (node.domain, node.op_type) not in own:
        raise ModelError(path, f"needs the operator {name!r} of {domain!r}: no custom operators are loaded")
    if name in READS_FILES:
        raise ModelError(path, f"needs the operator {name!r}, which reads files of its own")


def _parts(message: Any) -> Iterator[tuple[str, Any]]:
    """Every message inside, with its kind, however deep."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        yield message.DESCRIPTOR.name, message
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting.extend(value)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


@cache
def _parser() -> Any:
    """Message class of a model, in a pool of its own: ``onnx`` may be in the process too."""
    file = descriptor_pb2.FileDescriptorProto(name="scanning.proto", package="scanning", syntax="proto2")
    for kind, fields in _SCHEMA.items():
        message = file.message_type.add(name=kind)
        for name, (number, of) in fields.items():
            _add_field(message, name, number, of)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("scanning.Model"))


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: int, of: str) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=name, number=number, label=kinds.LABEL_REPEATED)
    if of == "":
        field.type, field.label = kinds.TYPE_BYTES, kinds.LABEL_OPTIONAL
    elif of == "enum":
        field.type = kinds.TYPE_INT32
    else:
        field.type, field.type_name = kinds.TYPE_MESSAGE, f".scanning.{of}"
