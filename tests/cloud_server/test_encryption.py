"""TLS and mutual TLS against a real server: who is served, and which files are refused."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud_server.errors import CertificateError, ListenError
from cloud_server.server import Running
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.pems import Pems, trust


@pytest.fixture
def pems(tmp_path: Path) -> Pems:
    return Pems.made(tmp_path)


def is_live(running: Running, credentials: grpc.ChannelCredentials | None) -> bool:
    """Whether the server answers; without a good connection the status is UNAVAILABLE."""
    target = running.address
    opened = grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target)
    with opened as channel:
        try:
            live: bool = GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), timeout=10).live
        except grpc.RpcError as error:
            refusal: Any = error
            assert refusal.code() is grpc.StatusCode.UNAVAILABLE
            return False
        return live


def test_tls_serves_whoever_trusts_its_authority(serve: Serve, models: dict[str, Path], pems: Pems) -> None:
    cert, key = pems.issue("server")
    with serve(models["plain"], tls={"cert": str(cert), "key": str(key)}) as running:
        assert is_live(running, trust(pems.ca))
        assert not is_live(running, None)
        assert not is_live(running, trust(pems.rogue_ca))


def test_mutual_tls_serves_only_clients_of_its_authority(
    serve: Serve, models: dict[str, Path], pems: Pems
) -> None:
    cert, key = pems.issue("server")
    tls = {"cert": str(cert), "key": str(key), "client_ca": str(pems.ca)}
    with serve(models["plain"], tls=tls) as running:
        assert is_live(running, trust(pems.ca, *pems.issue("device")))
        assert not is_live(running, trust(pems.ca))
        assert not is_live(running, trust(pems.ca, *pems.issue("rogue", pems.rogue)))
        assert not is_live(running, None)


EVERYWHERE = "0.0.0.0"


def test_with_a_login_it_may_listen_everywhere(
    serve: Serve, models: dict[str, Path], pems: Pems, caplog: pytest.LogCaptureFixture
) -> None:
    secret = pems.folder / "secret"
    secret.write_text("s" * 32)
    tokens = {"key": str(secret), "algorithm": "HS256"}
    for login in ({"tls": pems.tls()}, {"tls": pems.tls(mutual=False), "tokens": tokens}):
        with serve(models["plain"], server__host=EVERYWHERE, **login) as running:
            assert running.address.startswith(EVERYWHERE)
    assert "WITHOUT" not in caplog.text


@pytest.mark.parametrize("missing", ["LOGIN", "ENCRYPTION", "ENCRYPTION OR LOGIN"])
def test_without_either_it_listens_everywhere_only_when_told_to_and_says_so(
    serve: Serve, models: dict[str, Path], pems: Pems, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    secret = pems.folder / "secret"
    secret.write_text("s" * 32)
    given: dict[str, dict[str, object]] = {
        "LOGIN": {"tls": pems.tls(mutual=False)},
        "ENCRYPTION": {"tokens": {"key": str(secret), "algorithm": "HS256"}},
        "ENCRYPTION OR LOGIN": {},
    }
    with (
        pytest.raises(ListenError, match="is reachable from other machines"),
        serve(models["plain"], server__host=EVERYWHERE, **given[missing]),
    ):
        pass
    with serve(models["plain"], server__host=EVERYWHERE, server__insecure=True, **given[missing]):
        assert f"WITHOUT {missing}: " in caplog.text


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("cert", "is no certificate for the key"),
        ("key", "is no certificate for the key"),
        ("client_ca", "is no certificate authority"),
    ],
)
def test_a_file_that_is_no_pem_is_named(
    serve: Serve, models: dict[str, Path], pems: Pems, broken: str, problem: str
) -> None:
    cert, key = pems.issue("server")
    junk = pems.folder / "junk.pem"
    junk.write_text("no certificate")
    tls = {"cert": str(cert), "key": str(key), "client_ca": str(pems.ca), broken: str(junk)}
    with pytest.raises(CertificateError, match=problem) as caught, serve(models["plain"], tls=tls):
        pass
    assert str(junk) in str(caught.value)


def test_a_key_of_another_certificate_is_refused(serve: Serve, models: dict[str, Path], pems: Pems) -> None:
    (cert, _), (_, key) = pems.issue("server"), pems.issue("other")
    tls = {"cert": str(cert), "key": str(key)}
    with (
        pytest.raises(CertificateError, match="is no certificate for the key"),
        serve(models["plain"], tls=tls),
    ):
        pass


def test_an_absent_file_is_named(serve: Serve, models: dict[str, Path], tmp_path: Path) -> None:
    tls = {"cert": str(tmp_path / "absent.pem"), "key": str(tmp_path / "key.pem")}
    with (
        pytest.raises(CertificateError, match=r"absent\.pem: no such file or directory"),
        serve(models["plain"], tls=tls),
    ):
        pass
