"""Every datatype that ONNX and the protocol share, and models that look odd, by gRPC and REST."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import helper

from cloud_server.errors import ModelError
from cloud_server.server import Running
from protos import codec
from protos import inference_pb2 as pb
from protos.codec import DTYPES, Tensor
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server import graphs
from tests.cloud_server.conftest import Serve
from tests.cloud_server.test_rest import free_port

CODES = {
    "BOOL": onnx.TensorProto.BOOL,
    **{name: getattr(onnx.TensorProto, name) for name in DTYPES if "INT" in name},
    "FP16": onnx.TensorProto.FLOAT16,
    "FP32": onnx.TensorProto.FLOAT,
    "FP64": onnx.TensorProto.DOUBLE,
    "BYTES": onnx.TensorProto.STRING,
}
"""Datatype -> what ONNX calls it."""
ODD = 'a/b:0 "ü"'


def extremes(datatype: str) -> Tensor:
    """The largest and the smallest."""
    dtype = DTYPES[datatype]
    if dtype.hasobject:
        return np.array([b"", "größer\n\0".encode(), b"x" * 300], object)
    if dtype.kind == "b":
        return np.array([True, False, True])
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return np.array([limits.min, limits.max, 1], dtype)


@pytest.fixture(scope="module")
def served(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    folder, port = tmp_path_factory.mktemp("identities"), free_port()
    paths = [graphs.echo(folder / f"{name}.onnx", code) for name, code in CODES.items()]
    ends = [graphs.tensor(name, onnx.TensorProto.FLOAT, []) for name in (ODD, "y", "z")]
    nodes = [helper.make_node("Neg", [ODD], ["y"]), helper.make_node("Identity", [ODD], ["z"])]
    paths.append(graphs.write(folder / "odd name (1).onnx", nodes, ends[:1], ends[1:]))
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


@pytest.mark.parametrize("datatype", sorted(CODES.keys() - {"FP16"}))
def test_typed(stub: Any, datatype: str) -> None:
    """FP16 has no typed field in the protocol."""
    array = extremes(datatype)
    sent = codec.response("", "", "", {"x": array}, typed=True).outputs[0].SerializeToString()
    message = pb.ModelInferRequest(model_name=datatype)
    message.inputs.add().ParseFromString(sent)
    answer = stub.ModelInfer(message)
    assert not answer.raw_output_contents
    same(codec.response_tensors(answer)["y"], array)


@pytest.mark.parametrize("datatype", CODES)
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


def test_what_numpy_has_no_type_for_is_refused_by_name(serve: Serve, tmp_path: Path) -> None:
    path = graphs.echo(tmp_path / "brain.onnx", onnx.TensorProto.BFLOAT16)
    with (
        pytest.raises(ModelError, match=r"'x' is tensor\(bfloat16\), which the protocol cannot carry"),
        serve(path),
    ):
        pass
