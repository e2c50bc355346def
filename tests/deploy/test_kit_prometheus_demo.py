"""`make demo PROMETHEUS=1`: the kit watches the fleet that stays up."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

from deploy.demo.processes import wait_until
from tests.nodes import environment
from tests.services import require

ROOT = Path(__file__).parents[2]
WAIT = 120.0


def values(url: str, expression: str) -> list[float]:
    with urlopen(f"{url}/api/v1/query?{urlencode({'query': expression})}", timeout=WAIT) as answer:
        return [float(series["value"][1]) for series in json.load(answer)["data"]["result"]]


def told(output: Path) -> str:
    """Where Prometheus is, once all of that line has been written."""
    found = re.search(r"alerts: (http://\S+)\n", output.read_text())
    return found[1] if found else ""


def test_it_watches_the_fleet_that_stays_up(tmp_path: Path) -> None:
    require("prometheus")
    output = tmp_path / "output"
    command = [sys.executable, "-m", "deploy.demo", "--prometheus", "--link", "lan", "--limit", "20"]
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [*command, "--out", tmp_path / "run"], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        ) as demo,
    ):
        try:
            assert wait_until(lambda: told(output) != "" or demo.poll() is not None, WAIT)
            assert (url := told(output)), output.read_text()
            answered = "count(site_node:tidegate_offloaded:ratio5m)"
            assert wait_until(lambda: values(url, answered) == [3], WAIT), values(url, "up")
            assert wait_until(lambda: values(url, "count(up == 1)") == [5], WAIT), values(url, "up")
            assert wait_until(lambda: values(url, "sum(tidegate_node_up)") == [3], WAIT)
            assert values(url, 'ALERTS{alertstate="firing"}') == []
            demo.send_signal(signal.SIGTERM)
            assert demo.wait(WAIT) == 0, output.read_text()
        finally:
            demo.kill()


def test_without_one_it_says_so_before_anything_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.demo", "--prometheus", "--limit", "1"]
    ended = subprocess.run(
        [*command, "--out", tmp_path / "run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment(PATH=str(tmp_path)),
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("demo: no program prometheus: install it")
    assert not (tmp_path / "run/cloud.log").exists()
