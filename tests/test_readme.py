"""The README says what is true now."""

import os
import re
import signal
import subprocess
import sysconfig
from pathlib import Path

import msgspec
import numpy as np

from protos.result import Result
from tests import reference
from tests.models import LABELS, linear, samples
from tests.ports import free_port

ROOT = Path(__file__).parents[1]


def test_tables_are_those_of_the_code() -> None:
    text = reference.README.read_text()
    assert text == reference.render(text), "run `make generated`"


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", reference.README.read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_make_targets_named_exist() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", reference.README.read_text(), re.MULTILINE))
    unknown = [
        target
        for target in sorted(named)
        if subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False).returncode
    ]
    assert named
    assert not unknown


def test_your_own_model_runs_in_those_lines(tmp_path: Path) -> None:
    port = free_port()
    block = next(
        it for it in re.findall(r"```sh\n(.*?)```", reference.README.read_text(), re.DOTALL) if "pack" in it
    )
    lines = re.sub(r"^pip install.*\n", "", block, flags=re.MULTILINE)
    lines = lines.replace("run large.onnx", f"run large.onnx --port {port}").replace("8001", str(port))
    linear(tmp_path / "small.onnx")
    linear(tmp_path / "large.onnx", 10)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    np.save(tmp_path / "samples.npy", samples())
    shell = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", f"{lines}\nkill %1\nwait"],
        cwd=tmp_path,
        env=_commands(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = shell.communicate(timeout=60)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, err
    results = [msgspec.json.decode(line, type=Result) for line in out.splitlines() if line.startswith("{")]
    assert [result.label for result in results] == [LABELS[row.argmax()] for row in samples()]


def _commands() -> dict[str, str]:
    """An environment with this Python's commands, and no port of metrics that another has."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TIDEGATE_METRICS__PORT": "0"}
