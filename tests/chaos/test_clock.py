"""Wall clocks that jump: no result ages, none is out of order, and nothing takes less than no time."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from protos.artifact import Artifact
from tests.nodes import environment
from tests.services import require

DAY = 86_400
HOUR = 3600
LIFE = """
import json, sys, time
from pathlib import Path
from edge_node.outbox import clock
from protos import result as contract
from tests.outboxes import box

if sys.argv[2] == "wall":
    clock._CLOCK = time.CLOCK_REALTIME
with box(Path(sys.argv[1]), max_age=3600) as outbox:
    before = time.time()
    for _ in range(5):
        outbox.put(2)
        outbox.settle()
    results = [contract.decode(row.payload) for row in outbox.rows(-1, 999)]
    print(json.dumps({
        "wall": [before, time.time()], "age": outbox.depth().age, "session": outbox.session,
        "early": outbox.dropped("age"), "seqs": [it.seq for it in results], "ids": [it.id for it in results],
    }))
"""


NODE = """
import json, sys, time
from pathlib import Path
import numpy as np
from protos import artifact
from tests import nodes

folder, edge = map(Path, sys.argv[1:])
wall, told = [], []
with nodes.opened(nodes.settings(folder, artifact.load(edge))) as node:
    for _ in range(20):
        before = time.time()
        took = node.infer(np.array([0, 5, 0], np.float32)).latency_ms
        wall.append(time.time() - before)
        told += [took.edge, took.total]
print(json.dumps({"wall": wall, "told": told}))
"""


def life(folder: Path, clock: str, measure: str = "boot") -> Any:
    """A run of an outbox by another wall clock: what it saw of it, and what it made of it."""
    return run(clock, LIFE, folder, measure)


def run(clock: str, script: str, *arguments: str | Path) -> Any:
    """What a script prints by another wall clock."""
    fake = [str(require("faketime")), "-m", "--exclude-monotonic", "-f", clock]
    command = [*fake, sys.executable, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, check=False, text=True, env=environment())
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    "clocks",
    [
        ["+0", f"+{DAY}s", "+0"],
        ["+0", f"-{DAY}s", "+0"],
        [f"+{365 * DAY}s", "+0"],
        ["+0", "@2038-01-19 03:14:07", "+0"],
        ["-0 i-1000", "+0"],
        ["+0 x100000", "+0"],
    ],
    ids=["day ahead", "day behind", "year ahead first", "2038", "backwards", "racing"],
)
def test_a_clock_that_jumps_ages_nothing(tmp_path: Path, clocks: list[str]) -> None:
    lives = [life(tmp_path, clock) for clock in clocks]
    walls = [moment for one in lives for moment in one["wall"]]
    assert max(abs(here - there) for here, there in pairwise(walls)) > HOUR
    last = lives[-1]
    assert [one["early"] for one in lives] == [0] * len(lives)
    assert last["seqs"] == list(range(10 * len(lives)))
    assert len(set(last["ids"])) == len(last["ids"])  # no session number comes twice
    assert sorted(one["session"] for one in lives) == [one["session"] for one in lives]
    assert all(0 <= one["age"] < HOUR for one in lives)


def test_an_age_by_the_wall_clock_would(tmp_path: Path) -> None:
    life(tmp_path, "+0", "wall")
    assert life(tmp_path, f"+{DAY}s", "wall")["early"] == 10


@pytest.mark.parametrize("clock", ["-0 i-1000", "@2038-01-19 03:14:07"], ids=["backwards", "2038"])
def test_nothing_takes_less_than_no_time(tmp_path: Path, artifact: Artifact, clock: str) -> None:
    seen = run(clock, NODE, tmp_path, artifact.directory)
    assert min(seen["told"]) > 0
    assert (min(seen["wall"]) < 0) == clock.startswith("-"), "the control: by the wall clock it would"
