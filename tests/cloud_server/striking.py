"""Sends attacks to a server of its own, and judges what comes back."""

import http.client
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import grpc
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.cloud_server.hostile import LONG, SERVICE, Attack, mutant, volleys
from tests.cloud_server.process import COMMAND, Process, started
from tests.cloud_server.test_streaming import Stream
from tests.ports import free_port

REFUSALS = {
    "OK",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED",
}
"""What a server may say; anything else is a mistake of ours."""
PAGES = {200, 400, 404, 405, 413, 429, 431, 501, 503, 504}
OVERSIZE = 1 << 20
"""Bytes: a larger body may meet a connection that is closed before all of it is sent."""
PLANTED = """
import sys
import numpy
from cloud_server import cli
from protos import codec
codec._from_raw = lambda of, raw: numpy.frombuffer(raw, of.dtype).reshape(of.header.shape)
sys.exit(cli.main())
"""
"""A server that lets numpy's errors through, to show that it would be found."""
_BRIEFLY = 0.3
"""Seconds to wait for an answer over HTTP: what says that it is longer than it is gets none."""
_BAD = re.compile(r"Traceback|internal error|Exception")


class Found(AssertionError):
    """An attack has had an effect."""


class Striker:
    """Connections to one server, and what came of every attack."""

    def __init__(self, process: Process, rest: int) -> None:
        self.process, self._rest = process, rest
        self.tally: Counter[str] = Counter()
        self._channel = grpc.insecure_channel(process.address)
        self._stream: Stream | None = None
        self._http = self._connection()

    def strike(self, attack: Attack) -> None:
        """``Found`` unless it is refused, or answered, as it should be."""
        ways = {"unary": self._unary, "stream": self._ask, "rest": self._post, "socket": self._send}
        outcome = ways[attack.way](attack)
        self.tally[f"{attack.way} {outcome}"] += 1
        if self.process.popen.poll() is not None:
            raise Found(f"the server has ended: {attack!r}")

    def log(self) -> list[str]:
        """Lines that no attack may cause."""
        return [line for line in self.process.log.read_text().splitlines() if _BAD.search(line)]

    def peak(self) -> int:
        """The most memory that the server has had, in MiB."""
        status = Path(f"/proc/{self.process.popen.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) >> 10

    def close(self) -> None:
        """No connection is left."""
        self._http.close()
        self._hang_up()
        self._channel.close()

    def _unary(self, attack: Attack) -> str:
        path = attack.to if attack.to.startswith("/") else SERVICE + attack.to
        kind = {
            "Watch": "unary_stream",
            "ServerReflectionInfo": "stream_stream",
            "ModelStreamInfer": "stream_stream",
        }
        method = kind.get(path.rpartition("/")[2], "unary_unary")
        call: Any = getattr(self._channel, method)(path)
        body = iter([attack.body]) if method == "stream_stream" else attack.body
        packing = grpc.Compression.Gzip if attack.packed else None
        try:
            answer = call(body, metadata=attack.headers, timeout=attack.seconds, compression=packing)
            if method != "unary_unary":
                next(answer, None)
                answer.cancel()
        except grpc.RpcError as error:
            return self._judged(error, attack)
        return "OK"

    def _ask(self, attack: Attack) -> str:
        self._stream = self._stream or Stream(self._channel, seconds=3600)
        try:
            answer = self._stream.ask(attack.body)
        except grpc.RpcError as error:
            self._hang_up()
            return self._judged(error, attack)
        code = answer.error_message.partition(":")[0] or "OK"
        if code not in REFUSALS:
            raise Found(f"{answer.error_message}: {attack!r}")
        return code

    def _judged(self, error: Any, attack: Attack) -> str:
        code: str = error.code().name
        late = (
            code == "DEADLINE_EXCEEDED" and attack.seconds == LONG and "time was over" not in error.details()
        )
        if code not in REFUSALS or late:
            raise Found(f"{code}, {error.details()}: {attack!r}")
        return code

    def _post(self, attack: Attack) -> str:
        self._http.timeout = _BRIEFLY if attack.headers else LONG
        try:
            self._http.putrequest("POST" if attack.to.endswith("infer") else "GET", f"/{attack.to}")
            if not any(name in ("Content-Length", "Transfer-Encoding") for name, _ in attack.headers):
                self._http.putheader("Content-Length", str(len(attack.body)))
            for name, value in attack.headers:
                self._http.putheader(name, value)
            self._http.endheaders(attack.body)
            with self._http.getresponse() as answer:
                answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http = self._connection()
            if attack.headers or len(attack.body) > OVERSIZE:  # what it says of itself is not so
                return "closed"
            raise Found(f"{error!r}: {attack!r}") from error
        if answer.status not in PAGES:
            raise Found(f"{answer.status}: {attack!r}")
        if attack.headers or attack.to.endswith("infer") is False:
            self._http = self._connection()
        return str(answer.status)

    def _send(self, attack: Attack) -> str:
        port = self._rest if attack.to == "rest" else int(self.process.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as bare, suppress(OSError):
            bare.sendall(attack.body)
            bare.shutdown(socket.SHUT_WR)
            while bare.recv(1 << 16):
                pass
        return "closed"

    def _connection(self) -> http.client.HTTPConnection:
        if hasattr(self, "_http"):
            self._http.close()
        return http.client.HTTPConnection("127.0.0.1", self._rest, timeout=LONG)

    def _hang_up(self) -> None:
        if self._stream:
            self._stream.end()
            self._stream.call.cancel()
        self._stream = None


@contextmanager
def target(folder: Path, models: Sequence[Path], code: str = "") -> Iterator[Striker]:
    """A server of these models, or what ``code`` makes of it, and who attacks it."""
    rest = free_port()
    command = [sys.executable, "-c", code] if code else COMMAND
    with started(folder, *models, command=command, TIDEGATE_REST__PORT=str(rest)) as process:
        striker = Striker(process, rest)
        try:
            yield striker
        finally:
            striker.close()


def campaign(
    striker: Striker,
    count: int,
    start: int,
    chosen: st.SearchStrategy[tuple[Attack, ...]] | None = None,
    mutants: int = 0,
) -> None:
    """So many volleys, the same ones for the same ``start``; ``Found`` ends it.

    ``mutants``: each attack again so many times, damaged at random.
    """
    random = Random(start)

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(start)
    @given(volleys() if chosen is None else chosen)
    def strike(volley: tuple[Attack, ...]) -> None:
        for attack in volley:
            for one in (
                attack,
                *(mutant(attack, random) for _ in range(mutants if len(attack.body) < OVERSIZE else 0)),
            ):
                striker.strike(one)

    strike()
