"""How often a caller may ask, and what one that asks more often hears."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud_server.access.rights import Rates
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.pems import Pems, trust
from tests.cloud_server.process import PATIENCE
from tests.cloud_server.test_rights import BODY, Client, infer
from tests.cloud_server.whoami import client_context
from tests.ports import free_port

PUSHBACK = "grpc-retry-pushback-ms"
RATE = 0.02
"""So slow that no test sees a bucket fill."""


@pytest.fixture(scope="module")
def served(
    serve: Serve, models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, dict[str, Client]]]:
    pems, port = Pems.made(tmp_path_factory.mktemp("rate")), free_port()
    access = {"rate": RATE, "burst": 2}
    with serve(models["plain"], tls=pems.tls(), access=access, rest__port=port) as running:
        found = {}
        for name in "abc":
            files = pems.issue(name)
            channel = grpc.secure_channel(running.address, trust(pems.ca, *files))
            found[name] = Client(channel, f"https://127.0.0.1:{port}", client_context(pems.ca, *files))
        yield running, found
        for client in found.values():
            client.channel.close()


def test_whoever_asks_too_often_is_told_when_to_come_back(served: tuple[Any, dict[str, Client]]) -> None:
    running, clients = served
    assert [clients["a"].code("ModelInfer", infer("plain")) for _ in range(3)] == [
        "OK",
        "OK",
        "RESOURCE_EXHAUSTED",
    ]
    with pytest.raises(grpc.RpcError) as caught:
        GRPCInferenceServiceStub(clients["a"].channel).ModelInfer(infer("plain"), timeout=PATIENCE)
    refusal: Any = caught.value
    wait = int(dict(refusal.trailing_metadata())[PUSHBACK])
    assert 0 < wait <= 1000 / RATE
    assert running.meter.shed_by["rate"]._value.get() == 2


def test_and_no_other_caller_feels_it(served: tuple[Any, dict[str, Client]]) -> None:
    _, clients = served
    for _ in range(3):
        clients["b"].code("ModelInfer", infer("plain"))
    assert clients["c"].http("v2/models/plain/infer", BODY)[0] == 200


def test_one_bucket_over_every_protocol(served: tuple[Any, dict[str, Client]]) -> None:
    _, clients = served
    for _ in range(3):
        clients["b"].code("ModelInfer", infer("plain"))
    code, said = clients["b"].http("v2/models/plain/infer", BODY)
    assert (code, "times a second" in said["error"]) == (429, True)
    (answer,) = GRPCInferenceServiceStub(clients["b"].channel).ModelStreamInfer(
        iter([infer("plain")]), timeout=PATIENCE
    )
    assert answer.error_message.startswith("RESOURCE_EXHAUSTED: 'b' may ask")


def test_who_have_no_names_share_one_bucket_and_are_told(serve: Serve, models: dict[str, Path]) -> None:
    access = {"rate": RATE, "burst": 1}
    with serve(models["plain"], access=access) as running, grpc.insecure_channel(running.address) as one:
        GRPCInferenceServiceStub(one).ModelInfer(infer("plain"), timeout=PATIENCE)
        with grpc.insecure_channel(running.address) as other, pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(other).ModelInfer(infer("plain"), timeout=PATIENCE)
    assert caught.value.details() == f"all callers together may ask {RATE:g} times a second"


def test_asking_what_there_is_takes_no_token(served: tuple[Any, dict[str, Client]]) -> None:
    _, clients = served
    assert [clients["b"].http("v2/models/plain")[0] for _ in range(5)] == [200] * 5


def test_a_bucket_fills_at_its_rate_and_no_further() -> None:
    now = 0.0
    rates = Rates(2.0, 3.0, lambda: now)
    assert [rates.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now = 0.25
    assert rates.wait("a") == 0.25
    now = 0.5
    assert [rates.wait("a"), rates.wait("a")] == [0, 0.5]
    now = 1000.0
    assert [rates.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_callers_that_have_been_quiet_are_forgotten() -> None:
    now = 0.0
    rates = Rates(1.0, 1.0, lambda: now)
    for number in range(20_000):
        now += 0.01
        rates.wait(f"caller-{number}")
    assert len(rates) <= 10_000
