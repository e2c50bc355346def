"""``[health]``: for who shows no certificate, such as kubelet, and for as long as the server lives."""

import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cloud_server.errors import ListenError
from deploy.demo.processes import wait_until
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.process import PATIENCE, started
from tests.cloud_server.test_shutdown import FOR_EVER, count
from tests.ports import free_port

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def check(port: int, service: str = "") -> Any:
    """Its status, or that of the call."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            return (
                health_pb2_grpc.HealthStub(channel)
                .Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
                .status
            )
        except grpc.RpcError as error:
            refusal: Any = error
            return refusal.code()


def test_it_takes_no_certificate_and_tells_of_no_model(
    serve: Serve, models: dict[str, Path], tmp_path: Path
) -> None:
    authority, (cert, key, ca) = trustme.CA(), (tmp_path / name for name in ("cert", "key", "ca"))
    own = authority.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(str(key))
    own.cert_chain_pems[0].write_to_path(str(cert))
    authority.cert_pem.write_to_path(str(ca))
    port = free_port()
    with serve(
        models["plain"], health__port=port, tls__cert=str(cert), tls__key=str(key), tls__client_ca=str(ca)
    ) as running:
        assert check(port) == SERVING
        assert check(port, "plain") is grpc.StatusCode.NOT_FOUND
        assert check(int(running.address.rpartition(":")[2])) is grpc.StatusCode.UNAVAILABLE
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_it_says_not_serving_until_the_last_call_is_answered(tmp_path: Path, models: dict[str, Path]) -> None:
    port = free_port()
    grace = {"TIDEGATE_SERVER__GRACE": "3600", "TIDEGATE_HEALTH__PORT": str(port)}
    with (
        started(tmp_path, models["counting"], **grace) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        assert check(port) == SERVING
        call = count(process, channel, FOR_EVER)
        process.popen.send_signal(signal.SIGTERM)
        assert wait_until(lambda: check(port) == NOT_SERVING, PATIENCE)
        assert not call.done()


def test_a_port_in_use_is_named(serve: Serve, models: dict[str, Path]) -> None:
    port = free_port()
    with (
        serve(models["plain"], health__port=port),
        pytest.raises(ListenError, match=rf"^\[health\] 127.0.0.1:{port}: address already in use"),
        serve(models["plain"], health__port=port),
    ):
        pass
