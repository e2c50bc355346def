"""TLS and mutual TLS against a real server: who is served, and which files are refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from cloud_server.errors import CertificateError
from cloud_server.server import Running
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve


@dataclass
class Pems:
    """PEM files of one test."""

    folder: Path
    authority: trustme.CA
    rogue: trustme.CA

    def issue(self, name: str, authority: trustme.CA | None = None) -> tuple[Path, Path]:
        """Certificate and key."""
        issued = (authority or self.authority).issue_cert("127.0.0.1", common_name=name)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        issued.private_key_pem.write_to_path(str(key))
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(cert), append=True)
        return cert, key

    @property
    def ca(self) -> Path:
        return self._write("ca.pem", self.authority)

    @property
    def rogue_ca(self) -> Path:
        return self._write("rogue-ca.pem", self.rogue)

    def _write(self, name: str, authority: trustme.CA) -> Path:
        authority.cert_pem.write_to_path(str(self.folder / name))
        return self.folder / name


@pytest.fixture
def pems(tmp_path: Path) -> Pems:
    return Pems(tmp_path, trustme.CA(), trustme.CA())


def trust(ca: Path, cert: Path | None = None, key: Path | None = None) -> grpc.ChannelCredentials:
    """What a client brings."""
    return grpc.ssl_channel_credentials(*(path.read_bytes() if path else None for path in (ca, key, cert)))


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


def test_tls_may_listen_everywhere(serve: Serve, models: dict[str, Path], pems: Pems) -> None:
    cert, key = pems.issue("server")
    with serve(models["plain"], tls={"cert": str(cert), "key": str(key)}, server__host="0.0.0.0") as running:
        assert running.address.startswith("0.0.0.0:")


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
