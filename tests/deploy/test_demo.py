"""The demo as a person runs it: a process of its own, its output, its files, and what it leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from deploy.demo.processes import wait_until

ROOT = Path(__file__).parents[2]
SAMPLES = 30
DEVICES = 3
WAIT = 120.0


@contextmanager
def demo(out: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The demo under way; its output goes to `out`/output, and it is gone afterwards."""
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "deploy.demo", "--out", str(out), *arguments]
    with (
        (out / "output").open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def said(out: Path) -> str:
    return (out / "output").read_text()


def processes(out: Path, name: str = "") -> list[int]:
    """The demo's children that run: each is started with a file of `out`."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = cmdline.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if f"{out}/" in words and name in words:
            found.append(int(cmdline.parent.name))
    return found


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Exit code and folder of one whole run."""
    out = tmp_path_factory.mktemp("demo")
    with demo(out, "--once", "--link", "lan", "--limit", str(SAMPLES)) as process:
        return process.wait(WAIT), out


def table(text: str) -> dict[str, list[str]]:
    """Rows of the first Markdown table by their name."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: values for name, *values in cells}


def test_one_run_ends_well_and_leaves_no_process(once: tuple[int, Path]) -> None:
    status, out = once
    assert status == 0, said(out)
    assert processes(out) == []


def test_the_table_adds_up(once: tuple[int, Path]) -> None:
    rows = table(said(once[1]))
    assert rows[""] == ["edge-only", "hybrid", "cloud-only"]
    assert rows["samples"] == [str(SAMPLES * DEVICES)] * 3
    by_reason = [
        values for name, values in rows.items() if name.startswith("results: ") and "sum" not in name
    ]
    assert [sum(map(int, column)) for column in zip(*by_reason, strict=True)] == [SAMPLES * DEVICES] * 3
    assert rows["results: sum"] == rows["samples"]
    assert "Counts add up" in said(once[1])


def test_the_baselines_are_what_they_are_called(once: tuple[int, Path]) -> None:
    rows = table(said(once[1]))
    edge_only, hybrid, cloud_only = map(float, rows["offloaded, %"])
    assert edge_only == 0 < hybrid < cloud_only
    sent = [int(value.replace(",", "")) for value in rows["gRPC bytes a sample: sent"]]
    assert sent[0] == 0 < sent[1] < sent[2]


def test_report_and_plot_lie_in_the_folder(once: tuple[int, Path]) -> None:
    out = once[1]
    report = (out / "report.md").read_text()
    assert table(report) == table(said(out))
    assert "](accuracy-bytes.svg)" in report
    assert (out / "accuracy-bytes.svg").read_text().startswith("<?xml")
    assert (out / "accuracy-bytes.png").read_bytes().startswith(b"\x89PNG")


def dashboard(out: Path) -> str:
    """Where it is, once all of that line has been written."""
    found = re.search(r"The dashboard, live: (\S+)\n", said(out))
    return found[1] if found else ""


def devices(page: str) -> int:
    """How many devices the dashboard shows."""
    with urlopen(f"{page}api/devices") as answer:
        shown: int = json.load(answer)["total"]
        return shown


def test_it_stays_up_and_says_where_until_it_is_stopped(tmp_path: Path) -> None:
    with demo(tmp_path, "--link", "lan", "--limit", "5") as process:
        wait_until(lambda: dashboard(tmp_path) != "" or process.poll() is not None, WAIT)
        assert "stays up" in said(tmp_path), said(tmp_path)
        assert len(processes(tmp_path, "edge-node")) == DEVICES
        assert said(tmp_path).count("/metrics") == DEVICES + 1
        page = dashboard(tmp_path)
        assert wait_until(lambda: devices(page) == DEVICES, WAIT), "those that stay, and no others"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0, said(tmp_path)
    assert processes(tmp_path) == []


def test_a_node_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    with demo(tmp_path, "--once", "--link", "lan", "--limit", "100") as process:
        log = tmp_path / f"hybrid.{device(tmp_path)}.log"
        assert wait_until(lambda: log.exists() and "running" in log.read_text(), WAIT), log.read_text()
        os.kill(processes(tmp_path, log.stem)[0], signal.SIGKILL)
        assert process.wait(WAIT) == 1
    assert f"demo: hybrid/{log.stem.partition('.')[2]} ended with status -9: INFO" in said(tmp_path)
    assert "Counts do NOT add up: hybrid:" in said(tmp_path)
    assert processes(tmp_path) == []


def device(out: Path) -> str:
    """The name of some device, as soon as there is one."""
    assert wait_until(lambda: any(out.glob("hybrid.*.toml")), WAIT), said(out)
    return next(out.glob("hybrid.*.toml")).stem.partition(".")[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_takes_everything_with_it(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path, "--once") as process:
        assert wait_until(lambda: len(processes(tmp_path, "edge-node")) == 3 * DEVICES, WAIT), said(tmp_path)
        process.send_signal(number)
        assert process.wait(WAIT) == 130
    assert said(tmp_path).splitlines()[-1] == "demo: interrupted"
    assert processes(tmp_path) == []


def test_killed_it_leaves_no_orphans(tmp_path: Path) -> None:
    with demo(tmp_path, "--once") as process:
        assert wait_until(lambda: len(processes(tmp_path, "edge-node")) == 3 * DEVICES, WAIT), said(tmp_path)
        process.kill()
    assert wait_until(lambda: processes(tmp_path) == [], WAIT)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--scenario", "photos"], "demo: the scenario photos needs a folder"),
        (["--scenario", "photos", "--images", "nowhere"], "demo: --images nowhere: no such folder"),
        (["--images", "."], "demo: --images and --labels go with --scenario photos"),
        (["--link", "5g"], "error: argument --link: invalid choice: '5g'"),
        (["--limit", "0"], "error: argument --limit"),
        (["--out", "{file}/run"], "demo: cannot write to"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: list[str], problem: str) -> None:
    file = tmp_path / "file"
    file.touch()
    with demo(tmp_path, *(argument.format(file=file) for argument in arguments)) as process:
        assert process.wait(WAIT) == 2
    assert problem in said(tmp_path).splitlines()[-1]
    assert "Traceback" not in said(tmp_path)
