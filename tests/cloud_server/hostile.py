"""Requests that mean harm, by every way that leads to the server."""

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from protos import codec, image
from protos import inference_pb2 as pb
from protos.codec import DTYPES
from tests.cloud_server import hostile_images
from tests.cloud_server.graphs import plain
from tests.cloud_server.hostile_images import damaged

Input = pb.ModelInferRequest.InferInputTensor
ROW = np.ones((1, 3), np.float32)
PNG = image.encode(plain(0))
NOISE = image.encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
SIGNATURES = {
    "cloud": {"x": "FP32"},
    "colour": {"x": "UINT8"},
    "plain": {"x": "FP32"},
    "bytes": {"x": "UINT8"},
    "text": {"x": "BYTES"},
    "half": {"x": "FP16"},
    "arithmetic": {"a": "FP32", "b": "FP32"},
}
SERVICE = "/inference.GRPCInferenceService/"
METHODS = (
    *(f"{SERVICE}{method.name}" for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods),
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    f"{SERVICE}Dream",
)
PATHS = (
    "v2",
    "v2/health/ready",
    "v2/models/cloud",
    "v2/models/stats",
    "v2/repository/index",
    "v3",
    "%ff",
    "",
)
MIB = 1 << 20
LONG = 60.0
"""Seconds; only a server that hangs needs them."""


@dataclass(frozen=True)
class Attack:
    """One request."""

    way: str
    """``unary``, ``stream``, ``rest``, or ``socket`` for bytes to a bare port."""
    to: str
    """Method, path, or port."""
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    packed: bool = False
    seconds: float = LONG
    """Until the sender gives up."""

    def __repr__(self) -> str:
        return f"{self.way} {self.to} {self.headers} {len(self.body)} bytes {self.body[:300]!r}"


extreme = st.sampled_from([-1, 0, 2**31, 2**62, 2**63 - 1, -(2**63)])
shapes = st.one_of(
    st.lists(st.integers(-1, 4), max_size=4),
    st.lists(extreme | st.integers(0, 3), max_size=5),
    st.sampled_from([[0, 2**62], [1, 3], [2**62] * 300, [1] * 70, [3] * 4000]),
)
datatypes = st.sampled_from([*DTYPES, "FP8", "", "fp32", "FP" * 100])
names = st.sampled_from(["x", "a", "b", "y", "", "\0", "x" * 1000])
numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, 2**63 - 1, -1]))
parameter = st.one_of(
    st.builds(pb.InferParameter, int64_param=numbers),
    st.builds(pb.InferParameter, uint64_param=st.integers(0, 2**64 - 1)),
    st.builds(pb.InferParameter, double_param=st.floats()),
    st.builds(pb.InferParameter, string_param=st.text(max_size=9)),
    st.builds(pb.InferParameter, bool_param=st.booleans()),
    st.just(pb.InferParameter()),
)
parameters = st.dictionaries(
    st.sampled_from(["timeout", "priority", "classification", "shared_memory_region", "sequence_id"]),
    parameter,
    max_size=2,
)
outputs = st.builds(
    pb.ModelInferRequest.InferRequestedOutputTensor,
    name=st.sampled_from(["logits", "y", "sum"]),
    parameters=parameters,
)


def content(datatype: str, count: int) -> st.SearchStrategy[bytes]:
    """Raw contents of so many elements."""
    if datatype == "BYTES":
        element = st.one_of(
            st.binary(max_size=8), st.sampled_from([PNG, NOISE[:999], "é".encode()]), hostile_images.images
        )
        return st.lists(element, min_size=count, max_size=count).map(
            lambda elements: codec.to_bytes(np.array([*elements, None], object)[:-1])
        )
    size = count * DTYPES[datatype].itemsize
    return st.one_of(
        st.just(bytes(size)),
        st.binary(min_size=size, max_size=size),
        st.just((b"\0\0\xc0\x7f" * size)[:size]),
    )


@st.composite
def nearly_right(draw: st.DrawFn) -> pb.ModelInferRequest:
    """Bytes that fit the header, a header that often fits the model."""
    model = draw(st.sampled_from(sorted(SIGNATURES)))
    message = pb.ModelInferRequest(model_name=model, outputs=draw(st.lists(outputs, max_size=1)))
    for name, datatype in SIGNATURES[model].items():
        chosen = draw(st.one_of(st.just(datatype), st.sampled_from(sorted(DTYPES))))
        shape = draw(st.one_of(st.lists(st.integers(0, 4), max_size=4), st.just([0, 2**62]), st.just([1, 3])))
        message.inputs.add(name=name, datatype=chosen, shape=shape)
        message.raw_input_contents.append(draw(content(chosen, math.prod(shape))))
    for name, value in draw(parameters).items():
        message.parameters[name].CopyFrom(value)
    return message


contents = st.builds(
    pb.InferTensorContents,
    fp32_contents=st.lists(st.floats(width=32), max_size=6),
    fp64_contents=st.lists(st.floats(), max_size=3),
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6),
    int64_contents=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=2),
    uint64_contents=st.lists(st.integers(0, 2**64 - 1), max_size=2),
    bool_contents=st.lists(st.booleans(), max_size=3),
    bytes_contents=st.lists(st.binary(max_size=20) | hostile_images.images, max_size=4),
)
wild = st.builds(
    pb.ModelInferRequest,
    model_name=st.sampled_from([*SIGNATURES, "absent", "x" * 5000]),
    model_version=st.sampled_from(["", "1", "2", "../1"]),
    id=st.sampled_from(["", "7", "\0é", "x" * 5000]),
    parameters=parameters,
    inputs=st.lists(
        st.builds(Input, name=names, datatype=datatypes, shape=shapes, contents=st.none() | contents),
        max_size=3,
    ),
    outputs=st.lists(outputs, max_size=2),
    raw_input_contents=st.lists(st.one_of(st.binary(max_size=64), st.just(ROW.tobytes())), max_size=3),
)


@st.composite
def pictures(draw: st.DrawFn) -> pb.ModelInferRequest:
    """For the model that takes images."""
    several = draw(st.lists(hostile_images.images, min_size=1, max_size=3))
    return codec.request("colour", {"x": np.array([*several, None], object)[:-1]})


@cache
def sound() -> tuple[bytes, ...]:
    """Messages that are answered."""
    asked = (
        codec.request("cloud", {"x": ROW}),
        codec.request("colour", {"x": np.array([PNG, PNG], object)}),
        codec.request("arithmetic", {"a": ROW[0], "b": ROW[0]}),
        codec.request("text", {"x": np.array([b"ebb", b"flow"], object)}),
    )
    return tuple(it.SerializeToString() for it in asked)


def field(number: int, inner: bytes) -> bytes:
    """Of protobuf, with a length."""
    size, left = b"", len(inner)
    while left > 0x7F:
        size, left = size + bytes([left & 0x7F | 0x80]), left >> 7
    return bytes([number << 3 | 2]) + size + bytes([left]) + inner


def told(model: str, datatype: str, shape: list[int], inner: bytes = b"") -> bytes:
    """A message with one tensor, whose contents are ``inner``."""
    x = Input(name="x", datatype=datatype, shape=shape).SerializeToString() + inner
    return field(1, model.encode()) + field(5, x)


@cache
def heavy() -> tuple[bytes, ...]:
    """Megabytes, made to be more."""
    pairs = b"\x02\0\0\0ab" * (3 * MIB // 6)
    return (
        b"\x2a\0" * (2 * MIB - 9),  # tensors that are empty
        b"\x3a\0" * (2 * MIB - 9),
        b"\x32\0" * (2 * MIB - 9),
        told("text", "BYTES", [len(pairs) // 6]) + field(7, pairs),
        told("colour", "BYTES", [len(pairs) // 6]) + field(7, pairs),
        told("colour", "BYTES", [1]) + field(7, pairs),
        told("text", "BYTES", [MIB], field(5, b"\x42\0" * MIB)),
        told("bytes", "UINT8", [3 * MIB], field(5, field(4, bytes(3 * MIB)))),
        told("cloud", "FP32", [2**62] * 300_000),
        bytes(5 * MIB),
        *(
            codec.request("colour", {"x": np.array([it], object)}).SerializeToString()
            for it in hostile_images.large()
        ),
    )


messages = nearly_right() | wild | pictures()
raws = st.sampled_from(sound()).flatmap(damaged) | st.binary(max_size=200)
metadata = st.sampled_from([(), (), (("x-a", "x" * 9000),), (("x-a", "%ff"),)])
others = st.builds(
    Attack,
    way=st.just("unary"),
    to=st.sampled_from(METHODS),
    body=st.binary(max_size=60) | raws,
    headers=metadata,
    packed=st.booleans(),
    seconds=st.sampled_from([0.001, 0.5]),
)


def by_grpc(body: bytes) -> tuple[Attack, ...]:
    """One message as a call and in a stream."""
    return Attack("unary", "ModelInfer", body), Attack("stream", "ModelStreamInfer", body)


def _header(tensor: Input) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _plain(message: pb.ModelInferRequest, name: str) -> dict[str, Any]:
    chosen = {key: it.WhichOneof("parameter_choice") for key, it in message.parameters.items()}
    given = {key: getattr(message.parameters[key], choice) for key, choice in chosen.items() if choice}
    return {"id": message.id, "parameters": given, name: [{"name": it.name} for it in message.outputs]}


def as_http(message: pb.ModelInferRequest, lie: int) -> Attack:
    """The same message over HTTP; ``lie`` is added to the sizes that it gives."""
    raws = list(message.raw_input_contents)
    inputs = []
    for index, tensor in enumerate(message.inputs):
        more: dict[str, Any] = {"data": _values(tensor)}
        if index < len(raws):
            more = {"parameters": {"binary_data_size": len(raws[index]) + lie}}
        inputs.append(_header(tensor) | more)
    head = json.dumps({"inputs": inputs} | _plain(message, "outputs")).encode()
    headers = (("Inference-Header-Content-Length", str(len(head) + lie)),) if raws else ()
    return Attack("rest", f"v2/models/{message.model_name or 'cloud'}/infer", head + b"".join(raws), headers)


def _values(tensor: Input) -> list[Any]:
    lists = (list(value) for _, value in tensor.contents.ListFields())
    return [it.decode("latin-1") if isinstance(it, bytes) else it for values in lists for it in values]


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | extreme | st.sampled_from([10**400, "1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "data"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def _asked(shape: Any, datatype: Any, data: Any, given: Any) -> bytes:
    tensor = {"name": "x", "shape": shape, "datatype": datatype, "data": data, "parameters": given}
    return json.dumps({"inputs": [tensor]}).encode()


bodies = st.one_of(
    st.builds(_asked, shapes | values, datatypes | values, values, st.just({}) | values),
    st.sampled_from([_asked([1, 3], "FP32", [1, 2, 3], {})]).flatmap(damaged),
    st.binary(max_size=99),
)
http_headers = st.lists(
    st.sampled_from(
        [
            ("Inference-Header-Content-Length", "-1"),
            ("Inference-Header-Content-Length", "5"),
            ("Content-Encoding", "gzip"),
            ("Content-Encoding", "br"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "7"),
            ("Expect", "100-continue"),
            ("X", "x" * 9000),
            ("Content-Type", "\xff"),
        ]
    ),
    max_size=2,
).map(tuple)
http_calls = st.builds(
    Attack,
    way=st.just("rest"),
    to=st.sampled_from(["v2/models/cloud/infer", "v2/models/bytes/infer", "v2/models/text/infer", *PATHS]),
    body=bodies,
    headers=http_headers,
)
sockets = st.builds(
    Attack,
    way=st.just("socket"),
    to=st.sampled_from(["grpc", "rest"]),
    body=st.one_of(
        st.binary(max_size=200),
        st.sampled_from(
            [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0",
                b"POST /v2/models/cloud/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
                b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"x" * 100_000,
                b"GET /v2 HTTP/9.9\r\n\r\n",
                b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            ]
        ).flatmap(damaged),
    ),
)


@cache
def heavies() -> tuple[Attack, ...]:
    """Each of them by each way."""
    deep = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":'
    bodies = (
        b"[" * (4 * MIB),
        b"[[]," + b"[]," * MIB,
        b'["%s"%s]' % (b"x" * MIB, b',""' * MIB),
        bytes(70 * MIB),
    )
    return (
        *(attack for body in heavy() for attack in by_grpc(body)),
        Attack("unary", "ModelInfer", bytes(64 * MIB), packed=True),
        *(Attack("rest", "v2/models/cloud/infer", deep + body) for body in bodies),
    )


@st.composite
def volleys(draw: st.DrawFn) -> tuple[Attack, ...]:
    """A few attacks of any kind, one message by every way that it can go; heavy ones rarely."""
    kind = draw(st.integers(0, 999))
    if kind == 333:
        return (heavies()[draw(st.integers(0, len(heavies()) - 1))],)
    if kind < 500:
        message = draw(messages)
        return *by_grpc(message.SerializeToString()), as_http(
            message, draw(st.sampled_from([0, 0, 1, -1, 2**40]))
        )
    if kind < 700:
        return by_grpc(draw(raws))
    return (draw(http_calls if kind < 850 else others if kind < 970 else sockets),)


def mutant(attack: Attack, random: Random) -> Attack:
    """The same with bytes changed, cut out, doubled, or cut off."""
    body = bytearray(attack.body)
    for _ in range(random.randint(1, 4)):
        at, size = random.randint(0, len(body)), random.choice((1, 1, 2, 8, 40))
        body[at : at + random.choice((0, size))] = random.choice(
            (random.randbytes(size), b"", bytes(body[at : at + size]) * 2, b"\xff" * size)
        )
    return replace(attack, body=bytes(body))


@st.composite
def peaceful(draw: st.DrawFn) -> tuple[Attack, ...]:
    """As many requests that mean no harm, for comparison."""
    message = pb.ModelInferRequest.FromString(draw(st.sampled_from(sound())))
    message.id = str(draw(st.integers(0, 1 << 60)))  # hypothesis makes nothing twice
    return *by_grpc(message.SerializeToString()), as_http(message, 0)
