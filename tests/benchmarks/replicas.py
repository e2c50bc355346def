"""Replicas that fail, as their callers feel it; ``python -m tests.benchmarks.replicas`` reports.

Behind the kit's Envoy; behind it without what the kit sets; and before a client that balances itself.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.table import machine
from tests.deploy import replicas
from tests.deploy.replicas import CALLERS, CHANNELS, DEADLINE, Seen, Stand, call, stand

REPORT = Path(__file__).parents[2] / "docs/reports/replicas.md"
CALLS, FEWER = 10_000, 2_000
HASTY = 0.5
"""Seconds of a call to what may fail it."""
FAULTS: dict[str, Callable[..., object]] = {
    "none": replicas.nothing,
    "kill -9": replicas.killed,
    "SIGSTOP": replicas.hung,
    "drain": replicas.drained,
    "rolling restart": replicas.rolled,
}
ROUND_ROBIN = (
    '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}, '
    '"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.01s", '
    '"maxBackoff": "0.1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}'
)

WORDS = f"""# Replicas that fail, as measured

`python -m tests.benchmarks.replicas` wrote this: three `cloud-server` processes with a small model,
{CALLERS} callers over {CHANNELS} connections, mutual TLS everywhere, all on this one machine. Of the first
replica, after 2,000 calls: `kill -9`, and a new one 3,000 calls later; `SIGSTOP`, and `SIGCONT` 3,000 calls
later; `drain`: SIGTERM, and a new one 3,000 calls after it ended. `rolling restart`: SIGTERM and a new one,
of all in turn. To the two controls it happens after 500 calls, and ends 1,000 later.

- **Envoy**: [`deploy/envoy/`](../../deploy/envoy/README.md) as it is; a call has {DEADLINE:.0f} s.
- **bare**: the same without health checks, ejection and retries; a call has {HASTY:g} s.
- **client**: no proxy; gRPC's own `round_robin` with health checks and retries of UNAVAILABLE; a call has
  {HASTY:g} s.

Balance: calls of the busiest replica over those of the idlest, as Envoy counts them, without the one that
was struck; in a rolling restart, of all. p50, p99 and the longest in milliseconds, of what was answered.

"""


def main() -> None:
    """Measure, and write the report."""
    with TemporaryDirectory() as folder:
        rows = [*_behind(Path(folder) / "kit"), *_beside(Path(folder) / "bare")]
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[name] for name in head] for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    about = ", ".join(f"{name} {said}" for name, said in machine().items())
    load = " ".join(f"{it:.1f}" for it in os.getloadavg())
    REPORT.write_text(f"{WORDS}{table}\n\nenvoy-server 1.40.0, {about}; load average {load}\n")
    print(REPORT.read_text())


def _behind(folder: Path) -> list[dict[str, str]]:
    folder.mkdir()
    with stand(folder) as found:
        return [
            _row("Envoy", fault, call(found, CALLS, befall, DEADLINE)) for fault, befall in FAULTS.items()
        ]


def _beside(folder: Path) -> list[dict[str, str]]:
    """Without the kit: fewer calls, as each that fails takes its time."""
    folder.mkdir()
    rows = []
    with stand(folder, replicas.unprotected) as found:
        for way in ("bare", "client"):
            for fault in FAULTS:
                with _balancing(found) if way == "client" else nullcontext():
                    rows.append(_row(way, fault, call(found, FEWER, _sooner(fault), HASTY)))
    return rows


def _sooner(fault: str) -> Callable[..., object]:
    if fault in ("none", "rolling restart"):
        return FAULTS[fault]
    return partial(FAULTS[fault], begin=500, end=1500)


@contextmanager
def _balancing(found: Stand) -> Iterator[None]:
    """Callers that know the replicas themselves, and have heard of no fault yet."""
    target = "ipv4:" + ",".join(f"{host}:{port}" for host, port in (it.address for it in found.replicas))
    options = [("grpc.service_config", ROUND_ROBIN), ("grpc.ssl_target_name_override", "cloud-server")]
    with ExitStack() as channels:
        found.stubs = [
            channels.enter_context(replicas.calling(found, "insider", target, options))
            for _ in range(CHANNELS)
        ]
        yield


def _row(way: str, fault: str, seen: Seen) -> dict[str, str]:
    struck = 0 if fault in ("none", "rolling restart") else 1
    made = len(seen.seconds) + len(seen.failures)
    codes = sorted({failure.partition(":")[0] for failure in seen.failures})
    return {
        "way": way,
        "fault": fault,
        "calls": f"{made:,}",
        "failed": f"{len(seen.failures):,}" + (f" ({', '.join(codes)})" if codes else ""),
        "p50": f"{seen.at(0.5):.1f}",
        "p99": f"{seen.at(0.99):.1f}",
        "longest": f"{seen.at(1):.0f}",
        "balance": f"{seen.balance(struck):.2f}" if way != "client" else "",
    }


if __name__ == "__main__":
    main()
