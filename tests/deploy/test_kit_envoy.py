"""Replicas behind the kit's Envoy, certificates and all: what befalls one of them costs no call."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import grpc
import numpy as np
import pytest

from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from tests.deploy import replicas
from tests.deploy.machines import machines
from tests.deploy.replicas import DEADLINE, PATIENCE, Stand, call, stand, whole
from tests.services import require

CALLS = 10_000
ROW = np.array([[1, 5, 2]], np.float32)


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The kit as it is."""
    with stand(tmp_path_factory.mktemp("protected")) as found:
        yield found


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The kit without health checks, ejection and retries: the control."""
    with stand(tmp_path_factory.mktemp("bare"), replicas.unprotected) as found:
        yield found


@pytest.mark.parametrize("change", [str, replicas.unprotected])
def test_envoy_finds_no_fault_with_the_settings(tmp_path: Path, change: Callable[[str], str]) -> None:
    envoy = require("envoy")
    replicas.certify(tmp_path)
    replicas.equip(tmp_path / "envoy", tmp_path, [("127.0.0.1", 1)], change)
    command: list[str | Path] = [envoy, "--mode", "validate", "-c", "envoy.yaml"]
    said = subprocess.run(command, cwd=tmp_path / "envoy", capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip().endswith("OK")


def test_calls_are_spread_evenly(protected: Stand) -> None:
    """Once in three times at least: a replica that a busy machine makes slower gets fewer, as it should."""
    for _ in range(3):
        before = [it.answered() for it in protected.replicas]
        seen = call(protected, CALLS, replicas.nothing, DEADLINE)
        assert seen.failures == []
        counted = [it.answered() - was for it, was in zip(protected.replicas, before, strict=True)]
        assert len(seen.seconds) <= sum(counted) <= sum(seen.sent.values())  # a try may have taken too long
        if max(seen.balance(), max(counted) / min(counted)) <= 1.3:
            return
    pytest.fail(f"unevenly: {counted}")


def balance(folder: Path, change: Callable[[str], str]) -> float:
    """Of the first calls once all replicas are healthy."""
    folder.mkdir()
    with stand(folder, change) as found:
        seen = call(found, 300, replicas.nothing, DEADLINE)
    assert seen.failures == []
    return seen.balance()


def test_who_is_healthy_has_its_share_at_once(tmp_path: Path) -> None:
    assert balance(tmp_path / "kit", str) < 2


def test_by_default_the_balancer_hears_of_it_a_second_later(tmp_path: Path) -> None:
    """The control, once in three times at least: on a busy machine the calls take longer than that second."""
    assert any(balance(tmp_path / str(number), replicas.merging) >= 2 for number in range(3))


@pytest.mark.parametrize("befall", [replicas.killed, replicas.hung, replicas.drained, replicas.rolled])
def test_what_befalls_a_replica_costs_no_call(protected: Stand, befall: Any) -> None:
    seen = call(protected, CALLS, befall, DEADLINE)
    assert seen.failures == []
    assert len(seen.seconds) >= CALLS


@pytest.mark.parametrize(
    ("befall", "deadline", "code"),
    [(replicas.killed, DEADLINE, "UNAVAILABLE"), (replicas.hung, 0.2, "DEADLINE_EXCEEDED")],
)
def test_it_would_cost_calls_without_what_the_kit_sets(
    bare: Stand, befall: Any, deadline: float, code: str
) -> None:
    def strike(found: Stand, made: Callable[[int], None]) -> None:
        befall(found, made, begin=200, end=1500)

    seen = call(bare, 1500, strike, deadline)
    assert {failure.partition(":")[0] for failure in seen.failures} == {code}


def test_a_large_request_is_sent_again_as_well(protected: Stand) -> None:
    """Envoy keeps 1 MiB of it unless told otherwise, and what it has not kept it cannot send again."""
    many = codec.request("cloud", {"x": np.repeat(ROW, 100_000, axis=0)})
    protected.replicas[0].send(SIGSTOP)
    try:
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(protected.stubs[0].ModelInfer, many, timeout=PATIENCE) for _ in range(4)]
            assert all(len(codec.response_tensors(it.result())["logits"]) == 100_000 for it in asked)
    finally:
        protected.replicas[0].send(SIGCONT)
    whole(protected)


def test_a_stream_passes_through_and_a_new_one_opens_when_its_replica_dies(protected: Stand) -> None:
    before, request = protected.calls(), codec.request("cloud", {"x": ROW})
    stream = protected.stubs[0].ModelStreamInfer(iter([request] * 20))
    assert [answer.error_message for answer in stream] == [""] * 20
    (used,) = [address for address, total in protected.calls().items() if total > before[address]]
    assert sum(protected.calls().values()) - sum(before.values()) == 1  # one call, however many answers
    struck = next(it for it in protected.replicas if used.endswith(f":{it.address[1]}"))
    struck.send(SIGKILL)
    struck.child.wait(PATIENCE)
    answers = list(protected.stubs[0].ModelStreamInfer(iter([request] * 3)))
    assert [answer.error_message for answer in answers] == [""] * 3
    struck.start()
    whole(protected)


def test_replicas_come_and_go_by_a_file(protected: Stand, tmp_path_factory: pytest.TempPathFactory) -> None:
    kit = next(tmp_path_factory.getbasetemp().glob("protected*/envoy"))
    addresses = [it.address for it in protected.replicas]

    def leave(found: Stand, made: Callable[[int], None]) -> None:
        made(100)
        replicas.place(kit, addresses[1:])
        assert wait_until(lambda: len(found.hosts()) == 2, PATIENCE)
        replicas.place(kit, addresses)
        whole(found)

    assert call(protected, 300, leave, DEADLINE).failures == []


@pytest.mark.parametrize(
    ("device", "code"),
    [("cam-1", "OK"), ("cam-2", "PERMISSION_DENIED"), ("", "UNAVAILABLE")],
)
def test_replicas_hear_from_the_proxy_who_calls(protected: Stand, device: str, code: str) -> None:
    """Even if the device itself claims to be another one."""
    claims = (("x-forwarded-client-cert", "DNS=cam-1"), ("x-envoy-retry-on", "5xx"))
    with replicas.calling(protected, device) as stub:
        try:
            _, told = stub.ModelInfer.with_call(codec.request("cloud", {"x": ROW}), DEADLINE, claims)
            said = told.code()
        except grpc.RpcError as error:
            said = error.code()
    assert said.name == code


def test_a_device_has_no_way_past_the_proxy(protected: Stand) -> None:
    port = protected.replicas[0].address[1]
    with (
        replicas.calling(protected, "cam-1", f"127.0.0.1:{port}") as stub,
        pytest.raises(grpc.RpcError) as caught,
    ):
        stub.ServerLive(pb.ServerLiveRequest(), timeout=DEADLINE)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_models_are_not_loaded_through_the_proxy(protected: Stand) -> None:
    with pytest.raises(grpc.RpcError, match="models are loaded by each replica itself") as caught:
        protected.stubs[0].RepositoryModelLoad(
            pb.RepositoryModelLoadRequest(model_name="cloud"), timeout=DEADLINE
        )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_machine_that_is_gone_costs_no_call(tmp_path: Path) -> None:
    """Its cable is pulled: no connection to it is reset, and nothing comes any more."""
    with machines(3) as there:
        places = [(machine.there, machine.address, 8001) for machine in there]
        with stand(tmp_path, places=places) as found:

            def unplugged(found: Stand, made: Callable[[int], None]) -> None:
                made(500)
                there[0].plug("down")
                assert wait_until(lambda: not found.whole(), PATIENCE)
                made(2500)
                there[0].plug("up")
                whole(found)

            seen = call(found, 3000, unplugged, DEADLINE)
    assert seen.failures == []
