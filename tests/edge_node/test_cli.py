"""The command line: what it says of itself, and how it ends."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from protos import result as contract
from protos.artifact import Artifact, load
from tests.models import LABELS, linear, samples
from tests.nodes import COMMAND, PATIENCE, environment, finished, write_config


def test_help_names_the_commands_and_the_exit_codes() -> None:
    ended = finished("--help")
    assert (ended.code, ended.stderr) == (0, "")
    for word in ("run", "check", "selftest", "prepare", "exit codes:", "restarting does not help"):
        assert word in ended.stdout


@pytest.mark.parametrize("command", [["run"], ["check"], ["selftest"], ["prepare"], ["prepare", "pack"]])
def test_every_command_has_help(command: list[str]) -> None:
    ended = finished(*command, "--help")
    assert ended.code == 0
    assert ended.stdout.startswith("usage: edge-node ")


def test_the_version_is_the_package_s() -> None:
    assert finished("--version").stdout == f"edge-node {version('tidegate')}\n"


@pytest.mark.parametrize(
    "command", [[], ["fly"], ["run"], ["run", "--config"], ["selftest", "--threads", "x", "d"]]
)
def test_a_wrong_command_line_is_usage_and_exit_code_2(command: list[str]) -> None:
    ended = finished(*command)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: edge-node")


def test_a_run_to_the_end_of_its_source_exits_with_0(tmp_path: Path, artifact: Artifact) -> None:
    np.save(tmp_path / "rows.npy", samples(5))
    config = write_config(tmp_path, artifact, source={"kind": "array", "path": "rows.npy"})
    ended = finished("run", "--config", config)
    assert ended.code == 0
    results = [contract.decode(line.encode()) for line in ended.stdout.splitlines()]
    assert [result.sample for result in results] == ["0", "1", "2", "3", "4"]
    assert {result.reason for result in results} == {contract.Reason.CONFIDENT}


def test_the_environment_overrides_the_file(tmp_path: Path, artifact: Artifact) -> None:
    np.save(tmp_path / "rows.npy", samples(1))
    config = write_config(tmp_path, artifact, source={"kind": "array", "path": "absent.npy"})
    ended = finished("run", "--config", config, TIDEGATE_SOURCE__PATH="rows.npy", TIDEGATE_NODE__NAME="b")
    assert contract.decode(ended.stdout.encode()).node == "b"


def test_a_reader_that_goes_away_ends_the_node_in_peace(tmp_path: Path, artifact: Artifact) -> None:
    config = write_config(tmp_path, artifact, source={"kind": "stdin"})
    with subprocess.Popen(
        [*COMMAND, "run", "--config", config],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as node:
        assert node.stdin
        assert node.stdout
        assert node.stderr
        node.stdin.write(b"[5, 0, 0]\n")
        node.stdin.flush()
        assert node.stdout.readline()
        node.stdout.close()
        node.stdin.write(b"[5, 0, 0]\n")
        node.stdin.flush()
        assert node.wait(PATIENCE) == 0
        assert [line for line in node.stderr if not line.startswith(b"INFO ")] == []


def test_a_reader_that_has_read_enough_is_no_failure() -> None:
    with subprocess.Popen(
        [*COMMAND, "prepare", "plan"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as command:
        assert command.stdout
        assert command.stderr
        command.stdout.close()
        assert (command.stderr.read(), command.wait(PATIENCE)) == (b"", 0)


def test_closed_standard_input_is_said(tmp_path: Path, artifact: Artifact) -> None:
    config = write_config(tmp_path, artifact, source={"kind": "stdin"})
    script = f"exec {sys.executable} -m edge_node.cli run --config {config} <&-"
    ended = finished("-c", script, command=["sh"])
    assert (ended.code, ended.stdout) == (3, "")
    assert ended.stderr.endswith("edge-node: source standard input: is closed\n")


def test_pack_makes_an_artifact_that_a_node_runs(workplace: Path) -> None:
    linear(workplace / "colours.onnx")
    np.save("samples.npy", samples())
    Path("labels.txt").write_text("\n".join(LABELS))
    arguments = ["--labels", "labels.txt", "--samples", "samples.npy", "--precision", "fp32"]
    ended = finished("prepare", "pack", "colours.onnx", "packed", *arguments)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == "packed: colours 1, 16 golden vectors\n"
    assert load("packed").manifest.labels == LABELS


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (["absent.onnx"], "absent.onnx cannot be loaded"),
        (["--labels", "absent"], "labels absent: "),
        (["--samples", "absent"], "samples absent: "),
        (["--samples", "labels.txt"], "samples labels.txt: "),
        (["--samples", "empty"], "samples empty: "),
        (["--cloud", "absent"], "cloud model absent: "),
    ],
)
def test_a_mistake_in_packing_is_one_line(workplace: Path, change: list[str], problem: str) -> None:
    linear(workplace / "colours.onnx")
    np.save("samples.npy", samples())
    Path("labels.txt").write_text("\n".join(LABELS))
    Path("empty").touch()
    given = {"--labels": "labels.txt", "--samples": "samples.npy"}
    model = change[0] if len(change) == 1 else "colours.onnx"
    given.update([change] if len(change) == 2 else [])  # type: ignore[list-item] # a pair
    flags = [word for pair in given.items() for word in pair]
    ended = finished("prepare", "pack", model, "packed", *flags, "--precision", "fp32")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"edge-node: {problem}")
    assert ended.stderr.count("\n") == 1
    assert not Path("packed").exists()
