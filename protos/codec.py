"""ndarray <-> tensor of the Open Inference Protocol v2.

Bytes stay bytes: a tensor is read with one ``np.frombuffer`` over the message's own buffer, copied only from
where no processor likes it, and written with one ``tobytes``. Typed contents are accepted too, since some
clients send nothing else.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from protos import inference_pb2 as pb
from protos.bfloat16 import BF16

Tensor = NDArray[Any]
Raw = bytes | memoryview
"""Raw contents of a tensor."""

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BF16": BF16,
    "BYTES": np.dtype(object),
}
"""Datatype of the protocol -> numpy dtype, little-endian."""

DATATYPES = {dtype: name for name, dtype in DTYPES.items()}

_TYPED_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_LENGTH = np.dtype("<u4")
_DIMENSIONS = 32
"""More than any model has; numpy ends at 32 or 64."""


class CodecError(ValueError):
    """A tensor that is not what it says it is; the message says what is wrong with which tensor."""


class Header(Protocol):
    """What is said of every tensor."""

    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...
    @property
    def shape(self) -> Any: ...


class PlainHeader(NamedTuple):
    """The same, and nothing else."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Layout(NamedTuple):
    """What is said of a tensor, and what follows for its bytes."""

    header: Header
    dtype: np.dtype[Any]
    elements: int


class TensorHeader(Header, Protocol):
    """What ``InferInputTensor`` and ``InferOutputTensor`` have in common."""

    @property
    def contents(self) -> pb.InferTensorContents: ...
    def HasField(self, field_name: Any) -> bool: ...  # noqa: N802 - protobuf's name


@cache
def datatype(dtype: DTypeLike) -> str:
    """Protocol name of a numpy dtype; ``CodecError`` if it has none."""
    try:
        return DATATYPES[np.dtype(dtype).newbyteorder("<")]
    except KeyError:
        raise CodecError(f"dtype {np.dtype(dtype)} has no Open Inference Protocol datatype") from None


def request(model: str, tensors: Mapping[str, Tensor], *, request_id: str = "") -> pb.ModelInferRequest:
    """A raw ``ModelInferRequest`` with the tensors in the order given."""
    return pb.ModelInferRequest(
        model_name=model,
        id=request_id,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype(it.dtype), shape=it.shape)
            for name, it in tensors.items()
        ],
        raw_input_contents=[to_bytes(array) for array in tensors.values()],
    )


def response(
    model: str, version: str, request_id: str, tensors: Mapping[str, Tensor], *, typed: bool = False
) -> pb.ModelInferResponse:
    """A ``ModelInferResponse`` with the tensors in the order given.

    Raw, or if asked with typed contents; raw still if a tensor has no typed field (FP16, BF16).
    """
    typed = typed and all(datatype(array.dtype) in _TYPED_FIELDS for array in tensors.values())
    return pb.ModelInferResponse(
        model_name=model,
        model_version=version,
        id=request_id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=name,
                datatype=datatype(array.dtype),
                shape=array.shape,
                contents=_to_typed(array) if typed else None,
            )
            for name, array in tensors.items()
        ],
        raw_output_contents=[] if typed else [to_bytes(array) for array in tensors.values()],
    )


def request_tensors(message: pb.ModelInferRequest) -> dict[str, Tensor]:
    """The input arrays by name, read-only; ``CodecError`` says what is malformed."""
    return _tensors(message.inputs, message.raw_input_contents)


def response_tensors(message: pb.ModelInferResponse) -> dict[str, Tensor]:
    """The output arrays by name, read-only; ``CodecError`` says what is malformed."""
    return _tensors(message.outputs, message.raw_output_contents)


def to_bytes(array: Tensor) -> bytes:
    """Row-major little-endian bytes; each element of an object array gets its 4-byte length before it."""
    if array.dtype.hasobject:
        return b"".join(len(item).to_bytes(4, "little") + item for item in array.ravel())
    return (array if array.dtype in DATATYPES else array.astype(array.dtype.newbyteorder("<"))).tobytes()


def _tensors(headers: Sequence[TensorHeader], raws: Sequence[Raw]) -> dict[str, Tensor]:
    if not raws:
        found = {it.name: _shaped(it, _from_typed(it, _dtype(it))) for it in headers}
        if len(found) < len(headers):
            raise _twice(headers)
        return found
    if name := next((it.name for it in headers if filled(it)), ""):
        raise CodecError(f"tensor {name!r}: has both raw and typed contents")
    return raw_tensors(list(map(layout, headers)), raws)


def filled(header: TensorHeader) -> bool:
    """Whether it has typed contents: MLServer sets them, empty, beside raw ones."""
    return header.HasField("contents") and header.contents.ByteSize() > 0


def layout(header: Header) -> Layout:
    """``CodecError`` if there is no such tensor."""
    return Layout(header, _dtype(header), _count(header))


def raw_tensors(layouts: Sequence[Layout], raws: Sequence[Raw]) -> dict[str, Tensor]:
    """The arrays by name, read-only; ``CodecError`` says what is malformed."""
    if len(raws) != len(layouts):
        raise CodecError(f"{len(raws)} raw contents for {len(layouts)} tensors")
    found: dict[str, Tensor] = {}
    for of, raw in zip(layouts, raws, strict=True):
        found[of.header.name] = _from_raw(of, raw)
    if len(found) < len(layouts):
        raise _twice(it.header for it in layouts)
    return found


def _twice(headers: Iterable[Header]) -> CodecError:
    name, _ = Counter(header.name for header in headers).most_common(1)[0]
    return CodecError(f"tensor {name!r} is given twice")


def from_raw(header: Header, raw: Raw) -> Tensor:
    """The array in raw contents, read-only; ``CodecError`` says what is malformed."""
    return _from_raw(layout(header), raw)


def _from_raw(of: Layout, raw: Raw) -> Tensor:
    header, dtype, count = of
    if dtype.hasobject:
        return _shaped(header, np.fromiter(islice(_split(header.name, raw), count + 1), dtype=object))
    if len(raw) != count * dtype.itemsize:
        raise CodecError(
            f"tensor {header.name!r}: {len(raw)} raw bytes, "
            f"{header.datatype} of shape {list(header.shape)} needs {count * dtype.itemsize}"
        )
    array = np.frombuffer(raw, dtype)
    if not array.flags.aligned:
        array = np.frombuffer(bytes(raw), dtype)  # an array's own copy() goes by elements, five times slower
    return _reshaped(header, array)


def from_json(header: Header, data: Any) -> Tensor:
    """The array in JSON's values, nested as its shape or flat; text stands for BYTES."""
    dtype = _dtype(header)
    if dtype == BF16:
        raise CodecError(f"tensor {header.name!r}: BF16 can only travel as binary data")
    try:
        flat = np.fromiter(_texts(data), object) if dtype.hasobject else _numbers(data)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise CodecError(f"tensor {header.name!r}: its data are no {header.datatype}") from None
    return _shaped(header, flat if dtype.hasobject else _narrow(header, flat, dtype))


def to_json(name: str, array: Tensor) -> list[Any]:
    """Row-major values for JSON, flat; ``CodecError`` if there are bytes that are no text, or BF16."""
    if array.dtype == BF16:
        raise CodecError(f"tensor {name!r}: is BF16, ask for binary data")
    if not array.dtype.hasobject:
        values: list[Any] = array.ravel().tolist()
        return values
    try:
        return [item.decode() for item in array.ravel()]
    except UnicodeDecodeError:
        raise CodecError(f"tensor {name!r}: holds bytes that are no text, ask for binary data") from None


def _dtype(header: Header) -> np.dtype[Any]:
    dtype = DTYPES.get(header.datatype)
    if dtype is None:
        raise CodecError(f"tensor {header.name!r}: unknown datatype {header.datatype!r}")
    return dtype


def _shaped(header: Header, flat: Tensor) -> Tensor:
    count = _count(header)
    if flat.size != count:
        raise CodecError(
            f"tensor {header.name!r}: {flat.size} elements, shape {list(header.shape)} needs {count}"
        )
    return _reshaped(header, flat)


def _reshaped(header: Header, flat: Tensor) -> Tensor:
    try:
        return flat.reshape(tuple(header.shape))
    except ValueError:  # [0, 2**62]
        raise CodecError(f"tensor {header.name!r}: impossible shape {list(header.shape)}") from None


def _count(header: Header) -> int:
    """Number of elements, as a Python int: 2**63 x 2 must not overflow into something small."""
    if len(header.shape) > _DIMENSIONS:  # a product of thousands of them takes minutes
        raise CodecError(f"tensor {header.name!r}: impossible shape of {len(header.shape)} dimensions")
    count = 1
    for size in header.shape:
        if size < 0:
            raise CodecError(f"tensor {header.name!r}: negative dimension in shape {list(header.shape)}")
        count *= size
    return count


def _split(name: str, raw: Raw) -> Iterator[bytes]:
    """The elements of a raw BYTES tensor."""
    at = 0
    while at < len(raw):
        start = at + _LENGTH.itemsize
        at = start + int.from_bytes(raw[at:start], "little")
        if at > len(raw) or start > len(raw):
            raise CodecError(f"tensor {name!r}: BYTES element runs past the end of its raw contents")
        yield bytes(raw[start:at])


def _from_typed(header: TensorHeader, dtype: np.dtype[Any]) -> Tensor:
    field = _TYPED_FIELDS.get(header.datatype)
    if field is None:
        raise CodecError(f"tensor {header.name!r}: {header.datatype} can only travel as raw contents")
    values = getattr(header.contents, field)
    if dtype.hasobject:
        return np.fromiter(values, dtype=object, count=len(values))
    wide = np.uint64 if header.datatype == "UINT64" else None  # else numpy may make them floats
    return _narrow(header, np.array(values, wide), dtype)


def _narrow(header: Header, wide: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """The same numbers as ``dtype``, none of them changed by more than rounding."""
    if wide.size and wide.dtype.kind not in ("b" if dtype.kind == "b" else "iuf"):
        raise CodecError(f"tensor {header.name!r}: its data are no {header.datatype}")
    with np.errstate(invalid="ignore", over="ignore"):
        flat = wide.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(flat, wide):
        raise CodecError(f"tensor {header.name!r}: a value does not fit in {header.datatype}")
    return flat


def _numbers(data: Any) -> Tensor:
    """Row-major; ``TypeError`` if one is no number: numpy makes all texts as wide as the longest."""
    while isinstance(data, list) and data and isinstance(data[0], list):
        if len(set(map(len, data))) > 1:
            raise TypeError
        data = list(chain.from_iterable(data))
    flat = data if isinstance(data, list) else [data]
    kinds = set(map(type, flat))
    if not kinds <= {bool, int, float}:
        raise TypeError
    wide = np.uint64 if kinds == {int} and max(flat) >= 1 << 63 else None  # else numpy makes them floats
    return np.array(flat, wide)


def _texts(data: Any) -> Iterator[bytes]:
    """The elements of a BYTES tensor in JSON, nested or not; ``TypeError`` if one is no text."""
    if isinstance(data, list):
        for item in data:
            yield from _texts(item)
    elif isinstance(data, str):
        yield data.encode()
    else:
        raise TypeError


def _to_typed(array: Tensor) -> pb.InferTensorContents:
    contents = pb.InferTensorContents()
    getattr(contents, _TYPED_FIELDS[datatype(array.dtype)]).extend(array.ravel().tolist())
    return contents
