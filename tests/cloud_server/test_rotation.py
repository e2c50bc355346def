"""Certificates that are replaced while calls go on: T1 and T4 of the threat table."""

import logging
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import grpc
import pytest

from deploy.demo.processes import wait_until
from tests.cloud_server.pems import Pems, trust
from tests.cloud_server.process import PATIENCE
from tests.cloud_server.whoami import (
    Whoami,
    client_context,
    connection,
    over_http,
    posted,
    question,
    streamed,
    unary,
    whoami,
)

LOCAL = [("grpc.use_local_subchannel_pool", 1)]


@pytest.fixture
def pems(tmp_path: Path) -> Pems:
    """Of whose authorities the rogue one is to follow the other."""
    return Pems.made(tmp_path)


def by_grpc(server: Whoami, ca: Path, *files: Path) -> str:
    """Whom a new connection is taken for, or how it ends."""
    with grpc.secure_channel(f"127.0.0.1:{server.grpc_port}", trust(ca, *files), LOCAL) as channel:
        return unary(channel, question("x"))


def by_http(server: Whoami, ca: Path, *files: Path) -> str:
    try:
        return over_http(server.http_port, client_context(ca, *files), question("x"))
    except (ssl.SSLError, ConnectionError):
        return "UNAVAILABLE"


BY: dict[str, Callable[..., str]] = {"gRPC": by_grpc, "HTTP": by_http}


def replace(path: Path, content: bytes) -> None:
    """As a careful rotation does it: whole or not at all."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


@dataclass
class Load:
    """What has become of calls so far."""

    made: list[int]
    """By caller."""
    wrong: list[str] = field(default_factory=list)

    def more(self, calls: int = 3) -> None:
        """Until each has made so many more."""
        goal = [count + calls for count in self.made]
        assert wait_until(lambda: all(map(int.__ge__, self.made, goal)), PATIENCE)


@contextmanager
def load(calls: list[Callable[[], str]], wanted: str) -> Iterator[Load]:
    """All of these again and again, each in a thread of its own."""
    stop, found = Event(), Load([0] * len(calls))

    def go(number: int) -> None:
        while not stop.is_set():
            try:
                answer = calls[number]()
            except Exception as error:  # noqa: BLE001 - whatever it is, it counts
                answer = repr(error)
            found.made[number] += 1
            if answer != wanted:
                found.wrong.append(answer)

    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(go, number) for number in range(len(calls))]
        try:
            found.more()
            yield found
            found.more()
        finally:
            stop.set()
        for each in running:
            each.result()


def test_certificates_rotate_under_load_without_a_failed_call(pems: Pems) -> None:
    """Authority, server's and client's, by the book: both are trusted for a while, and then the new one."""
    tls = pems.tls()
    first, second = pems.authority, pems.rogue
    old, new = pems.issue("device-old"), pems.issue("device", second)
    both = pems.folder / "both.pem"
    both.write_bytes(first.cert_pem.bytes() + second.cert_pem.bytes())
    with whoami(tls=tls) as server:
        target = f"127.0.0.1:{server.grpc_port}"
        assert {call(server, pems.ca, *new) for call in BY.values()} == {"UNAVAILABLE"}, "a stranger as yet"
        with grpc.secure_channel(target, trust(both, *old), LOCAL) as kept:
            assert unary(kept, question("x")) == "device-old"
            replace(Path(tls["client_ca"]), both.read_bytes())
            assert {call(server, both, *new) for call in BY.values()} == {"device"}
            _rotate_the_rest(server, pems, tls, new, both)
            assert unary(kept, question("x")) == "UNAUTHENTICATED", "on a connection that was open, too"
            assert streamed(kept, question("x")) == "UNAUTHENTICATED"
        assert {name: call(server, both, *old) for name, call in BY.items()} == dict.fromkeys(
            BY, "UNAVAILABLE"
        )
        assert {call(server, both, *new) for call in BY.values()} == {"device"}
        assert {call(server, pems.ca, *new) for call in BY.values()} == {"UNAVAILABLE"}, "of the server's old"


def _rotate_the_rest(
    server: Whoami, pems: Pems, tls: dict[str, str], new: tuple[Path, Path], both: Path
) -> None:
    """The server's own certificate and the old authority, under load."""
    own = pems.rogue.issue_cert("127.0.0.1", common_name="server")
    target = f"127.0.0.1:{server.grpc_port}"
    opened = connection(server.http_port, client_context(both, *new))
    with grpc.secure_channel(target, trust(both, *new), LOCAL) as channel:
        calls: list[Callable[[], str]] = [
            lambda: unary(channel, question("x")),
            lambda: streamed(channel, question("x")),
            lambda: posted(opened, question("x")),
            lambda: by_grpc(server, both, *new),
            lambda: by_http(server, both, *new),
        ]
        with load(calls, "device") as found:
            replace(Path(tls["key"]), own.private_key_pem.bytes())
            replace(Path(tls["cert"]), own.cert_chain_pems[0].bytes())
            replace(Path(tls["client_ca"]), pems.rogue.cert_pem.bytes())
        assert found.wrong == []
    opened.close()


class Fleet:
    """Callers that connect anew when they are given another certificate."""

    def __init__(self, server: Whoami, ca: Path, files: tuple[Path, Path]) -> None:
        self._server, self._ca = server, ca
        self.renew(files)

    def renew(self, files: tuple[Path, Path]) -> None:
        self.files = files
        target = f"127.0.0.1:{self._server.grpc_port}"
        self.channel = grpc.secure_channel(target, trust(self._ca, *files), LOCAL)

    def calls(self) -> list[Callable[[], str]]:
        """Over a connection that is kept, and over a new one each time."""
        return [
            lambda: unary(self.channel, question("x")),
            lambda: streamed(self.channel, question("x")),
            lambda: by_grpc(self._server, self._ca, *self.files),
            lambda: by_http(self._server, self._ca, *self.files),
        ]


@pytest.mark.slow
def test_twenty_rotations(pems: Pems, capsys: pytest.CaptureFixture[str]) -> None:
    """To another authority and back, with everything that it has signed."""
    tls, authorities = pems.tls(), [pems.authority, pems.rogue]
    both = pems.folder / "both.pem"
    both.write_bytes(b"".join(it.cert_pem.bytes() for it in authorities))
    refused = []
    with whoami(tls=tls) as server:
        fleet = Fleet(server, both, pems.issue("device"))
        with load(fleet.calls(), "device") as found:
            for number in range(20):
                authority, old = authorities[(number + 1) % 2], fleet.files
                own = authority.issue_cert("127.0.0.1", common_name="server")
                replace(Path(tls["client_ca"]), both.read_bytes())
                replace(Path(tls["key"]), own.private_key_pem.bytes())
                replace(Path(tls["cert"]), own.cert_chain_pems[0].bytes())
                fleet.renew(pems.issue("device", authority, file=f"device-{number}"))
                found.more(40)
                replace(Path(tls["client_ca"]), authority.cert_pem.bytes())
                refused += [call(server, both, *old) for call in BY.values()]
    with capsys.disabled():
        sys.stdout.write(
            f"\n20 rotations, {sum(found.made)} calls, {len(found.wrong)} failed; "
            f"{len(refused)} connections with old certificates, {refused.count('UNAVAILABLE')} refused\n"
        )
    assert (found.wrong, set(refused)) == ([], {"UNAVAILABLE"})


@pytest.mark.parametrize("broken", ["cert", "key", "client_ca"])
@pytest.mark.parametrize("content", [b"no certificate", None], ids=["junk", "absent"])
def test_a_broken_file_keeps_the_old_ones_and_is_named_once(
    pems: Pems, caplog: pytest.LogCaptureFixture, broken: str, content: bytes | None
) -> None:
    caplog.set_level(logging.INFO)
    tls, files = pems.tls(), pems.issue("device")
    path = Path(tls[broken])
    good = path.read_bytes()
    with whoami(tls=tls) as server:
        if content is None:
            path.unlink()
        else:
            replace(path, content)
        assert {call(server, pems.ca, *files) for call in (*BY.values(), *BY.values())} == {"device"}
        said = [it.getMessage() for it in caplog.records if it.levelname == "WARNING"]
        assert len(said) == 1
        assert all(it in said[0] for it in ("[tls]", str(path), "stays in use"))
        replace(path, good)
        assert {call(server, pems.ca, *files) for call in BY.values()} == {"device"}
        assert any("read anew" in it.getMessage() for it in caplog.records)


def test_who_is_refused_in_the_handshake(pems: Pems) -> None:
    """Nobody of these gets as far as a call; over HTTP each is counted with the reason."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    good = pems.issue("device")
    bad: dict[str, tuple[Path, ...]] = {
        "no certificate": (),
        "rogue authority": pems.issue("rogue", pems.rogue),
        "expired": pems.issue("late", expires=yesterday),
    }
    with whoami(tls=pems.tls()) as server:
        for name, files in bad.items():
            for protocol, call in BY.items():
                assert call(server, pems.ca, *files) == "UNAVAILABLE", (name, protocol)
        plain = _plain(server)
        assert plain == {"gRPC": "UNAVAILABLE", "HTTP": "UNAVAILABLE"}
        counted = {"no_certificate": 1, "bad_certificate": 2, "handshake": 1}  # the last is the plaintext
        assert {reason: server.refused(reason) for reason in counted} == counted
        begun = {it: server.meter.handshakes.labels(it)._value.get() for it in ("grpc", "rest")}
        assert begun["grpc"] >= 4
        assert begun["rest"] == 4
        assert {call(server, pems.ca, *good) for call in BY.values()} == {"device"}, "control"


def test_a_server_of_another_name_is_not_spoken_to(pems: Pems) -> None:
    """The fifth of T1: a client looks at the server's name, too."""
    cert = pems.authority.issue_cert("elsewhere.example", common_name="server")
    files = {name: pems.folder / f"{name}.pem" for name in ("cert", "key", "client_ca")}
    files["cert"].write_bytes(cert.cert_chain_pems[0].bytes())
    files["key"].write_bytes(cert.private_key_pem.bytes())
    files["client_ca"].write_bytes(pems.authority.cert_pem.bytes())
    with whoami(tls={name: str(path) for name, path in files.items()}) as server:
        for call in BY.values():
            assert call(server, pems.ca, *pems.issue("device")) == "UNAVAILABLE"


def _plain(server: Whoami) -> dict[str, str]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answers = {"gRPC": unary(channel, question("x"))}
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/v2", timeout=PATIENCE)
    except (urllib.error.URLError, ConnectionError, OSError):
        answers["HTTP"] = "UNAVAILABLE"
    return answers


def test_a_connection_ends_with_its_certificate(pems: Pems) -> None:
    with whoami(tls=pems.tls()) as server:
        target = f"127.0.0.1:{server.grpc_port}"
        files = pems.issue("device", expires=datetime.now(UTC) + timedelta(seconds=10))
        with (
            grpc.secure_channel(target, trust(pems.ca, *files), LOCAL) as channel,
            closing(connection(server.http_port, client_context(pems.ca, *files))) as opened,
        ):
            calls: list[Callable[[], str]] = [
                lambda: unary(channel, question("x")),
                lambda: posted(opened, question("x")),
            ]
            assert [call() for call in calls] == ["device", "device"]
            refused = ["UNAUTHENTICATED", "401"]
            assert wait_until(lambda: [call() for call in calls] == refused, PATIENCE)
        assert server.refused("expired") >= 2
