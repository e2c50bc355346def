"""Results a second that the sink stores: of a backlog at the broker, from its connection to the last one."""

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.demo.broker import Broker, open_broker
from deploy.demo.processes import wait_until
from tests import mqtt
from tests.benchmarks.table import Row
from tests.cloud_server.fleet import sinks
from tests.cloud_server.fleet.rows import payload
from tests.postgres import cluster
from tests.services import find

COUNT = 10_000
"""As many as the broker keeps."""
NODES = 50
ROUNDS = 3
PATIENCE = 120.0


def measure() -> dict[str, list[Row]]:
    """A row for each database that this machine has."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        broker = stack.enter_context(open_broker(folder))
        rounds = [_rounds(broker, name, url) for name, url in _databases(stack, folder)]
    return {f"results sink: {COUNT:,} results of {NODES} nodes that wait at the broker": rounds}


def _databases(stack: ExitStack, folder: Path) -> Iterator[tuple[str, str]]:
    yield "SQLite", f"sqlite:///{folder}/fleet-{{}}.sqlite"
    if find("postgres"):
        server = stack.enter_context(cluster())
        stack.enter_context(server.running(fsync=True))
        for number in range(ROUNDS):
            server.execute(f"CREATE DATABASE fleet_{number}")
        yield "PostgreSQL", server.url("fleet_{}")


def _rounds(broker: Broker, name: str, url: str) -> Row:
    rounds = [_drain(broker, f"{name}-{number}", url.format(number)) for number in range(ROUNDS)]
    middle = {key: statistics.median(it[key] for it in rounds) for key in rounds[0]}
    return {"database": name, **middle}


def _drain(broker: Broker, root: str, database: str) -> dict[str, float]:
    settings = sinks.fleet(broker, root, database)
    with sinks.sinking(settings):
        pass
    _send(broker, root)
    start, busy = time.perf_counter(), time.process_time()
    with sinks.sinking(settings) as meter:
        assert wait_until(lambda: sinks.stored(meter) == COUNT, PATIENCE)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        transactions = sinks.value(meter, "tidegate_store_transaction_duration_seconds_count")
    return {
        "results/s": COUNT / seconds,
        "results a transaction": COUNT / transactions,
        "CPU of the sink, µs a result": busy / COUNT * 1e6,
    }


def _send(broker: Broker, root: str) -> None:
    with mqtt.connected(mqtt.client(), broker) as client:
        for seq in range(COUNT // NODES):
            for node in range(NODES):
                sent = client.publish(f"{root}/lab/n{node}/result", payload(seq, node=f"n{node}"), qos=1)
        sent.wait_for_publish(PATIENCE)
