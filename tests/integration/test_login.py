"""A node and a server that know each other: what is replaced on disk is what counts, on both sides."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest

from cloud_server import config, server
from edge_node.config import Cloud, Tls
from edge_node.errors import NodeError
from edge_node.fallback import CloudFallback
from edge_node.handshake import open_channel
from edge_node.metrics import Meter
from protos.artifact import Artifact
from protos.result import Reason
from tests.cloud_server.pems import Pems
from tests.edge_node.asking import Asker
from tests.models import cloud_artifact, edge_artifact
from tests.nodes import PATIENCE, first_look

SECRET = "s" * 40


@dataclass
class Stand:
    """A server, and what a node needs to call it."""

    pems: Pems
    target: str
    artifact: Artifact

    @contextmanager
    def node(self, cert: Path | None = None, key: Path | None = None, **given: Any) -> Iterator[Asker]:
        settings = Cloud(target=self.target, tls=Tls(ca=self.pems.ca, cert=cert, key=key), **given)
        with first_look(PATIENCE), CloudFallback(settings, self.artifact, Meter()) as fallback:
            asker = Asker(fallback)
            yield asker
            fallback.drain()
        assert asker.each_ended_once()


@contextmanager
def stand(folder: Path, pems: Pems, **flags: object) -> Iterator[Stand]:
    artifact = edge_artifact(folder / "edge", cloud_artifact(folder / "cloud"))
    given = {"server.port": 0, "metrics.port": 0, "models": [{"path": str(folder / "cloud")}], **flags}
    with server.serve(config.load(None, given)) as running:
        yield Stand(pems, running.address, artifact)


def token(folder: Path, seconds: float = 600) -> Path:
    """A file with one that is good for so long."""
    now, path = int(time.time()), folder / "token"
    claims = {"sub": "lab/node-1", "aud": "tidegate", "iat": now - 60, "exp": now + seconds}
    path.with_suffix(".new").write_text(jwt.encode(claims, SECRET, "HS256"))
    path.with_suffix(".new").replace(path)
    return path


@pytest.fixture
def pems(tmp_path: Path) -> Pems:
    return Pems.made(tmp_path)


@pytest.fixture
def tokens(tmp_path: Path, pems: Pems) -> dict[str, object]:
    """Settings of a server that wants them."""
    (tmp_path / "secret").write_text(SECRET)
    key = {"key": str(tmp_path / "secret"), "algorithm": "HS256"}
    return {"tls": pems.tls(mutual=False), "tokens": key}


def test_a_token_that_is_replaced_in_time_costs_no_answer(
    tmp_path: Path, pems: Pems, tokens: dict[str, object]
) -> None:
    """The open stream ends with the token that opened it; what it owes then is asked with the new one."""
    with stand(tmp_path, pems, **tokens) as it, it.node(token_file=token(tmp_path, 4)) as node:
        end = time.monotonic() + 5
        assert node.ask().reason is Reason.CLOUD
        token(tmp_path)
        while time.monotonic() < end:
            assert node.ask().reason is Reason.CLOUD


def test_a_node_whose_token_has_expired_sends_nothing_until_it_has_another(
    tmp_path: Path, pems: Pems, tokens: dict[str, object]
) -> None:
    with stand(tmp_path, pems, **tokens) as it, it.node(token_file=token(tmp_path, 3)) as node:
        assert node.ask().reason is Reason.CLOUD
        assert node.becomes(Reason.CIRCUIT_OPEN)
        assert "UNAUTHENTICATED" in str(node.ask().error)
        token(tmp_path)
        assert node.becomes(Reason.CLOUD)


def test_certificates_of_another_authority_are_read_when_the_old_ones_are_refused(
    tmp_path: Path, pems: Pems
) -> None:
    tls = pems.tls()
    cert, key = pems.issue("node")
    with stand(tmp_path, pems, tls=tls) as it, it.node(cert, key) as node:
        assert node.ask().reason is Reason.CLOUD
        Path(tls["client_ca"]).write_bytes(pems.rogue.cert_pem.bytes())
        assert node.becomes(Reason.CIRCUIT_OPEN)
        key.unlink()
        time.sleep(0.5)  # the node looks for the cloud meanwhile, and must survive that
        assert node.ask().reason is Reason.CIRCUIT_OPEN
        pems.issue("node", pems.rogue)
        assert node.becomes(Reason.CLOUD)


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "no such file"), ("", "holds no token"), ("two words", "holds no token")]
)
def test_a_file_that_is_no_token_is_named(
    tmp_path: Path, pems: Pems, content: str | None, problem: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(NodeError, match=problem):
        open_channel(Cloud(target="localhost:1", tls=Tls(ca=pems.ca), token_file=path))


def test_no_token_is_sent_in_the_clear(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"without \[cloud\.tls\]"):
        open_channel(Cloud(target="localhost:1", token_file=token(tmp_path)))
