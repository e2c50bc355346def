"""Every datatype of the protocol, and models that look odd, by gRPC and REST."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import ValueInfoProto, helper

from cloud_server.config import CloudConfig
from cloud_server.errors import ModelError
from cloud_server.inference import loading
from cloud_server.inference.call import Call
from cloud_server.inference.model import Done
from cloud_server.inference.question import Asked
from cloud_server.server import Running
from protos import codec
from protos import inference_pb2 as pb
from protos.bfloat16 import BF16, narrowed
from protos.codec import DTYPES, PlainHeader, Tensor
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server import graphs
from tests.cloud_server.conftest import Serve
from tests.ports import free_port

CODES = {
    "BOOL": onnx.TensorProto.BOOL,
    **{name: getattr(onnx.TensorProto, name) for name in DTYPES if "INT" in name},
    "FP16": onnx.TensorProto.FLOAT16,
    "BF16": onnx.TensorProto.BFLOAT16,
    "FP32": onnx.TensorProto.FLOAT,
    "FP64": onnx.TensorProto.DOUBLE,
    "BYTES": onnx.TensorProto.STRING,
}
"""Datatype -> what ONNX calls it."""
RAW_ONLY = {"FP16", "BF16"}
"""The protocol has no typed field for them."""
ODD = 'a/b:0 "ü"'


def extremes(datatype: str) -> Tensor:
    """The largest and the smallest."""
    dtype = DTYPES[datatype]
    if dtype.hasobject:
        return np.array([b"", "größer\n\0".encode(), b"x" * 300], object)
    if dtype.kind == "b":
        return np.array([True, False, True])
    if dtype == BF16:
        return narrowed(extremes("FP32"))
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return np.array([limits.min, limits.max, 1], dtype)


def brains(*numbers: float) -> Tensor:
    """A sample for ``doubled``."""
    return narrowed(np.array([numbers]))


def doubled(path: Path, *inputs: ValueInfoProto) -> Path:
    """``x`` (n, 3) -> ``y`` = 2 x, both bfloat16; other ``inputs`` count for nothing."""
    x, y = (graphs.tensor(name, onnx.TensorProto.BFLOAT16, ["n", 3]) for name in "xy")
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", ["wide", "wide"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=onnx.TensorProto.BFLOAT16),
    ]
    return graphs.write(path, nodes, [x, *inputs], [y])


@pytest.fixture(scope="module")
def served(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    folder, port = tmp_path_factory.mktemp("identities"), free_port()
    paths = [graphs.echo(folder / f"{name}.onnx", code) for name, code in CODES.items()]
    ends = [graphs.tensor(name, onnx.TensorProto.FLOAT, []) for name in (ODD, "y", "z")]
    nodes = [helper.make_node("Neg", [ODD], ["y"]), helper.make_node("Identity", [ODD], ["z"])]
    paths.append(graphs.write(folder / "odd name (1).onnx", nodes, ends[:1], ends[1:]))
    paths.append(doubled(folder / "doubled.onnx"))
    with serve(*paths, rest__port=port) as running:
        yield running, port


@pytest.fixture(scope="module")
def stub(served: tuple[Running, int]) -> Iterator[Any]:
    with grpc.insecure_channel(served[0].address) as channel:
        yield GRPCInferenceServiceStub(channel)


def post(port: int, model: str, body: bytes, split: int | None = None) -> tuple[dict[str, Any], bytes]:
    """The JSON of the answer, and what is behind it."""
    headers = {} if split is None else {"Inference-Header-Content-Length": str(split)}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/{model}/infer", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        content = answer.read()
        end = int(answer.headers.get("Inference-Header-Content-Length", len(content)))
        return json.loads(content[:end]), content[end:]


def same(one: Tensor, other: Tensor) -> None:
    assert (one.dtype, one.shape, codec.to_bytes(one)) == (other.dtype, other.shape, codec.to_bytes(other))


@pytest.mark.parametrize("datatype", CODES)
def test_raw(stub: Any, datatype: str) -> None:
    array = extremes(datatype)
    answer = stub.ModelInfer(codec.request(datatype, {"x": array}))
    assert answer.outputs[0].datatype == datatype
    same(codec.response_tensors(answer)["y"], array)


@pytest.mark.parametrize("datatype", sorted(CODES.keys() - RAW_ONLY))
def test_typed(stub: Any, datatype: str) -> None:
    array = extremes(datatype)
    sent = codec.response("", "", "", {"x": array}, typed=True).outputs[0].SerializeToString()
    message = pb.ModelInferRequest(model_name=datatype)
    message.inputs.add().ParseFromString(sent)
    answer = stub.ModelInfer(message)
    assert not answer.raw_output_contents
    same(codec.response_tensors(answer)["y"], array)


@pytest.mark.parametrize("datatype", sorted(RAW_ONLY))
def test_typed_where_there_is_no_field(stub: Any, datatype: str) -> None:
    message = pb.ModelInferRequest(model_name=datatype)
    message.inputs.add(name="x", datatype=datatype, shape=[1]).contents.fp32_contents.append(1)
    with pytest.raises(grpc.RpcError, match=f"tensor 'x': {datatype} can only travel as raw contents"):
        stub.ModelInfer(message)


@pytest.mark.parametrize("datatype", sorted(CODES.keys() - {"BF16"}))
def test_json(served: tuple[Running, int], datatype: str) -> None:
    array = extremes(datatype)
    x = {"name": "x", "datatype": datatype, "shape": [3], "data": codec.to_json("x", array)}
    answer, _ = post(served[1], datatype, json.dumps({"inputs": [x]}).encode())
    (y,) = answer["outputs"]
    flat = [it.encode() for it in y["data"]] if datatype == "BYTES" else y["data"]
    same(np.array(flat, DTYPES[datatype]), array)


@pytest.mark.parametrize("datatype", CODES)
def test_binary(served: tuple[Running, int], datatype: str) -> None:
    raw = codec.to_bytes(extremes(datatype))
    x = {"name": "x", "datatype": datatype, "shape": [3], "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [x], "parameters": {"binary_data_output": True}}).encode()
    answer, behind = post(served[1], datatype, head + raw, len(head))
    assert (answer["outputs"][0]["datatype"], behind) == (datatype, raw)


def test_a_scalar_without_a_batch_by_a_name_of_any_characters(stub: Any) -> None:
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="odd name (1)"))
    assert [(it.name, list(it.shape)) for it in metadata.inputs] == [(ODD, [])]
    assert [it.name for it in metadata.outputs] == ["y", "z"]
    found = codec.response_tensors(stub.ModelInfer(codec.request("odd name (1)", {ODD: np.array(2, "<f4")})))
    assert {name: it.tolist() for name, it in found.items()} == {"y": -2, "z": 2}


def refused(port: int, body: bytes, split: int | None = None) -> str:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(port, "doubled", body, split)
    assert caught.value.code == 400
    reason: str = json.loads(caught.value.read())["error"]
    return reason


def test_bfloat16_is_no_json(served: tuple[Running, int]) -> None:
    x: dict[str, Any] = {"name": "x", "datatype": "BF16", "shape": [1, 3]}
    body = json.dumps({"inputs": [x | {"data": [1, 2, 3]}]}).encode()
    assert refused(served[1], body) == "tensor 'x': BF16 can only travel as binary data"
    head = json.dumps({"inputs": [x | {"parameters": {"binary_data_size": 6}}]}).encode()
    raw = codec.to_bytes(brains(1, 2, 3))
    assert refused(served[1], head + raw, len(head)) == "tensor 'y': is BF16, ask for binary data"


def test_a_model_computes_with_bfloat16(stub: Any) -> None:
    request = codec.request("doubled", {"x": brains(1, -2.5, 1e38)})
    same(codec.response_tensors(stub.ModelInfer(request))["y"], brains(2, -5, 2e38))
    (answer,) = stub.ModelStreamInfer(iter([request]))
    same(codec.response_tensors(answer.infer_response)["y"], brains(2, -5, 2e38))


@pytest.mark.parametrize("way", ["grpc", "http"])
def test_bfloat16_of_an_independent_client(served: tuple[Running, int], way: str) -> None:
    triton, numbers = pytest.importorskip(f"tritonclient.{way}"), pytest.importorskip("ml_dtypes")
    address = served[0].address if way == "grpc" else f"127.0.0.1:{served[1]}"
    array = np.array([[1, -2.5, 3]], numbers.bfloat16)
    with triton.InferenceServerClient(address) as client:
        x = triton.InferInput("x", array.shape, "BF16").set_data_from_numpy(array)
        found = client.infer("doubled", [x]).as_numpy("y")
    assert (found.dtype, found.tolist()) == (array.dtype, [[2, -5, 6]])


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_bfloat16_is_finite(stub: Any, poison: float) -> None:
    with pytest.raises(grpc.RpcError, match="input 'x': holds NaN or infinity"):
        stub.ModelInfer(codec.request("doubled", {"x": brains(1, poison, 1)}))


def test_the_best_classes_of_bfloat16(stub: Any) -> None:
    request = codec.request("doubled", {"x": brains(1, 3, -2)})
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    found = codec.response_tensors(stub.ModelInfer(request))["y"]
    assert found.tolist() == [[b"6.000000:1", b"2.000000:0"]]


def test_bfloat16_of_several_callers_in_one_run(tmp_path: Path) -> None:
    model = loading.open_model(doubled(tmp_path / "doubled.onnx"), settings=CloudConfig())
    plan = model.plan(Asked("", "", (PlainHeader("x", "BF16", (1, 3)),)))
    works = [model.prepare(plan, {"x": brains(number, 0, 1)}) for number in (1, 5)]
    one, other = model.together(works, [Call()] * 2)
    assert isinstance(one, Done)
    assert isinstance(other, Done)
    assert one.run is other.run
    same(one.outputs["y"], brains(2, 0, 2))
    same(other.outputs["y"], brains(10, 0, 2))


def test_text_beside_bfloat16_is_refused_as_the_model_loads(serve: Serve, tmp_path: Path) -> None:
    text = graphs.tensor("text", onnx.TensorProto.STRING, ["n"])
    with (
        pytest.raises(ModelError, match="takes text and has bfloat16"),
        serve(doubled(tmp_path / "both.onnx", text)),
    ):
        pass
