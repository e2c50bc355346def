"""``make bench-cloud`` works: its figures are for people, on a machine that does nothing else."""

import subprocess
import sys

from tests.nodes import LONGEST
from tests.services import require


def test_a_quick_run_prints_a_table_of_our_server_and_what_it_is_compared_with() -> None:
    require("h2load")
    command = [sys.executable, "-m", "tests.benchmarks.cloud", "--quick", "small-16"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST)
    assert ended.returncode == 0, ended.stderr
    for contender in ("Tidegate", "session.run, 1 thread", "empty gRPC echo"):
        assert f"| {contender}" in ended.stdout, ended.stdout
