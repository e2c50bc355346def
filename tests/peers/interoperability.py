"""Real clients against our server; ``python -m tests.peers.interoperability`` writes the docs' table."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from onnx import TensorProto

from cloud_server import config, server
from protos import image
from tests.cloud_server import graphs
from tests.models import cloud_artifact, linear
from tests.peers.clients.checks import CALLS
from tests.peers.servers import HOST
from tests.ports import free_port
from tests.services import require

DOCS = Path(__file__).parents[2] / "docs/interoperability.md"
SCRIPTS = Path(__file__).parent / "clients"
CLIENTS = {
    "triton_grpc": "tritonclient, gRPC",
    "triton_aio": "tritonclient, gRPC, asyncio",
    "triton_http": "tritonclient, HTTP",
    "kserve_grpc": "KServe, gRPC",
    "kserve_rest": "KServe, HTTP",
    "mlserver_grpc": "MLServer, gRPC",
    "mlserver_infer": "`mlserver infer`, HTTP",
}
"""Script -> name in the table."""
YES, NO = "yes", "-"
PATIENCE = 120.0
"""Seconds that a client has for all of its calls, on a machine that is busy."""


@dataclass(frozen=True)
class Stand:
    """Our server, and an image for it."""

    target: str
    rest: str
    jpeg: Path


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    """With all models that the calls are about."""
    models = [
        cloud_artifact(folder / "cloud").directory,
        graphs.colour(folder / "colour").directory,
        graphs.arithmetic(folder / "arithmetic.onnx"),
        graphs.echo(folder / "text.onnx", TensorProto.STRING),
        graphs.echo(folder / "half.onnx", TensorProto.FLOAT16),
    ]
    linear(folder / "repository/net/1/model.onnx")
    jpeg = folder / "green.jpg"
    jpeg.write_bytes(image.encode(graphs.plain(1)))
    port = free_port()
    settings = {
        "server.port": 0,
        "metrics.port": 0,
        "rest.port": port,
        "models": [{"path": str(it)} for it in models],
        "repository": {"path": str(folder / "repository"), "control": True},
    }
    with server.serve(config.load(None, settings)) as running:
        yield Stand(running.address, f"{HOST}:{port}", jpeg)


def made(client: str, stand: Stand) -> Mapping[str, str]:
    """The calls that a client made, and what went wrong with each, or nothing."""
    family = client.partition("_")[0]
    python = sys.executable if family == "triton" else require(family)  # Triton's client lives with us
    command = [python, SCRIPTS / f"{client}.py", stand.target, stand.rest, stand.jpeg]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr
    said: dict[str, str] = json.loads(ended.stdout.splitlines()[-1])
    return said


def table(found: Mapping[str, Mapping[str, str]]) -> str:
    """Calls that went well, by client."""
    rows = [["call", *CLIENTS.values()], ["---"] * (len(CLIENTS) + 1)]
    rows += [[call, *(YES if found[it].get(call) == "" else NO for it in CLIENTS)] for call in CALLS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def documented(client: str) -> set[str]:
    """The calls that, by the docs, this client makes."""
    rows = [line.strip("| ").split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("|")]
    head = next(row for row in rows if CLIENTS[client] in row)
    return {row[0] for row in rows if row[0] in CALLS and row[head.index(CLIENTS[client])] == YES}


def main() -> None:
    """Run all clients, and write what they could do."""
    with TemporaryDirectory() as folder, stand(Path(folder)) as opened:
        found = {client: made(client, opened) for client in CLIENTS}
    head, begin, rest = DOCS.read_text().partition("<!-- calls -->\n")
    tail = rest.partition("<!-- /calls -->")[2]
    DOCS.write_text(f"{head}{begin}\n{table(found)}\n\n<!-- /calls -->{tail}")


if __name__ == "__main__":
    main()
