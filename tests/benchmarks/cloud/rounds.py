"""Rounds in which everybody has a turn, so that a busy neighbour is busy for all."""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from tests.benchmarks.cloud.client import Client, Done, Task
from tests.benchmarks.cloud.contenders import ECHO, OURS, Case, bare
from tests.benchmarks.cloud.process import cpu_seconds
from tests.benchmarks.table import Row
from tests.peers.servers import Peer


@dataclass(frozen=True)
class Turn:
    """One contender in one round."""

    done: Done
    server_cpu: float
    """Milliseconds of all its processes an answer."""


Rounds = list[dict[str, Turn]]


@dataclass(frozen=True)
class Pace:
    """How thoroughly."""

    rounds: int
    seconds: float
    """Of a turn."""


def measure(case: Case, folder: Path, pace: Pace, only: frozenset[str] = frozenset()) -> Rounds:
    """Everybody, or only these and what they are compared with; all must give the same answer."""
    with Client() as client, _opened(case, folder, only) as peers:
        tasks = _tasks(case, folder, peers)
        _agree({name: client.do(task) for name, task in tasks.items()})
        rounds = []
        for number in range(pace.rounds + 1):
            turns = tasks if number % 2 else dict(reversed(tasks.items()))
            rounds.append({name: _turn(client, task, peers, pace.seconds) for name, task in turns.items()})
        return rounds[1:]  # the first warms up


def rows(rounds: Rounds) -> list[Row]:
    """Medians, and what ours has of each of the others, round by round."""
    found: list[Row] = []
    for name in sorted(rounds[0], key=lambda name: -_median(rounds, name, "rate")):
        low, middle, high = ratios(rounds, OURS, name)
        found.append(
            {
                "server": name,
                "answers/s": _median(rounds, name, "rate"),
                "p50, ms": _median(rounds, name, "p50"),
                "p99, ms": _median(rounds, name, "p99"),
                "its CPU, ms": statistics.median(it[name].server_cpu for it in rounds),
                "client's CPU, ms": _median(rounds, name, "cpu"),
                f"{OURS} / it": f"{middle:.2f} ({low:.2f} to {high:.2f})",
            }
        )
    return found


def ratios(rounds: Rounds, name: str, other: str) -> tuple[float, float, float]:
    """Answers a second of one over those of another: lowest, median and highest of all rounds."""
    each = sorted(it[name].done.rate / it[other].done.rate for it in rounds)
    return each[0], statistics.median(each), each[-1]


def _median(rounds: Rounds, name: str, figure: str) -> float:
    figures: list[float] = [getattr(it[name].done, figure) for it in rounds]
    return statistics.median(figures)


@contextmanager
def _opened(case: Case, folder: Path, only: frozenset[str]) -> Iterator[Mapping[str, Peer]]:
    model = case.net(folder / f"{case.net.__name__}.onnx")
    with ExitStack() as stack:
        peers = {}
        for number, (name, open_) in enumerate(case.servers.items()):
            if only and name not in only:
                continue
            place = folder / f"{number}"
            place.mkdir()
            peers[name] = stack.enter_context(open_(place, model))
        yield peers


def _tasks(case: Case, folder: Path, peers: Mapping[str, Peer]) -> dict[str, Task]:
    task = Task(model=str(folder / f"{case.net.__name__}.onnx"), pixels=case.pixels, callers=case.callers)

    def of(**changed: object) -> Task:
        return msgspec.structs.replace(task, **changed)

    return {
        **{name: of(callers=threads) for name, threads in bare().items() if threads <= case.callers},
        **{name: of(target=peer.target) for name, peer in peers.items()},
        **{
            name: of(target=peers[server].target, stream=True)
            for name, server in case.streams.items()
            if server in peers
        },
    }


def _turn(client: Client, task: Task, peers: Mapping[str, Peer], seconds: float) -> Turn:
    pid = next((peer.pid for peer in peers.values() if peer.target == task.target), None)
    before = cpu_seconds(pid) if pid else 0.0
    done = client.do(msgspec.structs.replace(task, seconds=seconds))
    used = (cpu_seconds(pid) if pid else 0.0) - before
    return Turn(done, 1e3 * used / (done.rate * seconds))


def _agree(answers: Mapping[str, Done]) -> None:
    truth = next(iter(answers.values())).logits
    for name, done in answers.items():
        if not name.startswith(ECHO) and not np.allclose(done.logits, truth, rtol=1e-3, atol=1e-3):
            raise SystemExit(f"{name} gives another answer than the network itself")
