"""What each caller may use, see and do: the models of ``[access]``, over both protocols."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.pems import Pems, trust
from tests.cloud_server.process import PATIENCE
from tests.cloud_server.whoami import client_context
from tests.models import linear
from tests.ports import free_port

ACCESS = {"models": {"a": ["mine"], "ops": ["*"], "*": []}, "control": ["ops"]}
BODY = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}


@dataclass
class Client:
    """One caller."""

    channel: grpc.Channel
    url: str
    context: ssl.SSLContext

    def code(self, method: str, request: Any) -> str:
        """The status of a call."""
        try:
            getattr(GRPCInferenceServiceStub(self.channel), method)(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            refusal: Any = error
            return str(refusal.code().name)
        return "OK"

    def http(self, path: str, body: object = None) -> tuple[int, Any]:
        """(status, JSON) of a request."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(
                f"{self.url}/{path}", data, timeout=PATIENCE, context=self.context
            ) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def clients(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    folder = tmp_path_factory.mktemp("rights")
    pems, port = Pems.made(folder), free_port()
    for name in ("mine", "secret"):
        (folder / "repository" / name / "1").mkdir(parents=True)
        linear(folder / "repository" / name / "1" / "model.onnx")
    repository = {"path": str(folder / "repository"), "control": True}
    with serve(tls=pems.tls(), access=ACCESS, repository=repository, rest__port=port) as running:
        found = {}
        for name in ("a", "ops", "stranger"):
            files = pems.issue(name)
            channel = grpc.secure_channel(running.address, trust(pems.ca, *files))
            found[name] = Client(channel, f"https://127.0.0.1:{port}", client_context(pems.ca, *files))
        yield found
        for client in found.values():
            client.channel.close()


def infer(model: str) -> pb.ModelInferRequest:
    return codec.request(model, {"x": np.ones((1, 3), np.float32)})


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("ModelInfer", infer),
        ("ModelReady", lambda model: pb.ModelReadyRequest(name=model)),
        ("ModelMetadata", lambda model: pb.ModelMetadataRequest(name=model)),
        ("ModelStatistics", lambda model: pb.ModelStatisticsRequest(name=model)),
    ],
)
def test_a_model_of_others_is_forbidden_whether_it_is_there_or_not(
    clients: dict[str, Client], method: str, request_of: Any
) -> None:
    codes = {
        (who, model): clients[who].code(method, request_of(model))
        for who in clients
        for model in ("mine", "secret", "absent")
    }
    gone = "OK" if method == "ModelReady" else "NOT_FOUND"  # ready = false is an answer
    assert codes == {
        ("a", "mine"): "OK",
        ("a", "secret"): "PERMISSION_DENIED",
        ("a", "absent"): "PERMISSION_DENIED",
        ("ops", "mine"): "OK",
        ("ops", "secret"): "OK",
        ("ops", "absent"): gone,
        ("stranger", "mine"): "PERMISSION_DENIED",
        ("stranger", "secret"): "PERMISSION_DENIED",
        ("stranger", "absent"): "PERMISSION_DENIED",
    }


def test_the_same_over_http(clients: dict[str, Client]) -> None:
    paths = {"v2/models/{}": None, "v2/models/{}/ready": None, "v2/models/{}/stats": None}
    for path, body in (*paths.items(), ("v2/models/{}/infer", BODY)):
        codes = [clients[who].http(path.format("secret"), body)[0] for who in ("a", "ops", "stranger")]
        assert codes == [403, 200, 403], path


def test_what_is_listed_is_what_one_may_use(clients: dict[str, Client]) -> None:
    seen = {}
    for who, client in clients.items():
        stub = GRPCInferenceServiceStub(client.channel)
        index = stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=PATIENCE)
        statistics = stub.ModelStatistics(pb.ModelStatisticsRequest(), timeout=PATIENCE)
        _, listed = client.http("v2/repository/index", {})
        _, counted = client.http("v2/models/stats")
        seen[who] = (
            [it.name for it in index.models],
            [it.name for it in statistics.model_stats],
            [it["name"] for it in listed],
            [it["name"] for it in counted["model_stats"]],
        )
    everything = ["mine", "secret"]
    assert seen == {"a": (["mine"],) * 4, "ops": (everything,) * 4, "stranger": ([],) * 4}


def test_health_tells_nobody_of_a_model_that_is_none_of_theirs(clients: dict[str, Client]) -> None:
    codes = {}
    for who in ("a", "ops"):
        stub = health_pb2_grpc.HealthStub(clients[who].channel)
        for model in ("", "mine", "secret"):
            asked = health_pb2.HealthCheckRequest(service=model)
            try:
                stub.Check(asked, timeout=PATIENCE)
            except grpc.RpcError as error:
                refusal: Any = error
                codes[who, model] = refusal.code()
            watch = stub.Watch(asked, timeout=PATIENCE)
            status = next(watch).status
            watch.cancel()
            unknown = status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            assert unknown is ((who, model) in codes)
    assert codes == {("a", "secret"): grpc.StatusCode.NOT_FOUND}


def test_only_whom_control_names_loads_and_unloads(clients: dict[str, Client]) -> None:
    load, unload = (
        ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="mine")),
        ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="mine")),
    )
    for who in ("a", "stranger"):
        assert [clients[who].code(*it) for it in (load, unload)] == ["PERMISSION_DENIED"] * 2
        assert clients[who].http("v2/repository/models/mine/unload", {})[0] == 403
    assert clients["a"].code("ModelInfer", infer("mine")) == "OK"
    assert [clients["ops"].code(*it) for it in (unload, load)] == ["OK"] * 2


def test_what_is_said_of_a_model_that_has_gone_names_no_other(clients: dict[str, Client]) -> None:
    unload = pb.RepositoryModelUnloadRequest(model_name="mine")
    load = pb.RepositoryModelLoadRequest(model_name="mine")
    assert clients["ops"].code("RepositoryModelUnload", unload) == "OK"
    code, said = clients["a"].http("v2/models/mine/infer", BODY)
    assert clients["ops"].code("RepositoryModelLoad", load) == "OK"
    assert (code, "secret" in said["error"]) == (404, False)
