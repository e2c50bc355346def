"""Every mistake at start: one clear line, the right exit code, no traceback, no result."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from protos import artifact as contract
from tests.edge_node.clouds import HOST, cloud
from tests.models import cloud_artifact, edge_artifact, samples
from tests.nodes import Ended, finished, write_config

Break = Callable[[Path], object]
"""Spoils what lies in a folder."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All that a node needs to run: an artifact that names its cloud, samples."""
    edge_artifact(tmp_path / "edge", cloud_artifact(tmp_path / "cloud"))
    np.save(tmp_path / "rows.npy", samples(3))
    return tmp_path


def run(folder: Path, **sections: dict[str, Any]) -> Ended:
    source = {"kind": "array", "path": "rows.npy"}
    config = write_config(folder, folder / "edge", **{"source": source, **sections})
    return finished("run", "--config", config)


def complaint(ended: Ended, code: int) -> str:
    """The one line, beside what a node says of itself, of one that ended like this."""
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("INFO ")]
    assert (ended.code, ended.stdout, len(lines)) == (code, "", 1), ended.stderr
    assert lines[0].startswith("edge-node: ")
    return lines[0].removeprefix("edge-node: ")


def test_what_is_spoiled_below_runs_unspoiled(folder: Path) -> None:
    assert run(folder).code == 0


def manifest(change: Callable[[dict[str, Any]], object]) -> Break:
    def spoil(folder: Path) -> None:
        path = folder / "edge" / "manifest.json"
        found = msgspec.json.decode(path.read_bytes())
        change(found)
        path.write_bytes(msgspec.json.encode(found))

    return spoil


def wrong_signature(found: dict[str, Any]) -> None:
    found["signature"]["input"]["name"] = "pixels"


def changed_byte(folder: Path) -> None:
    path = folder / "edge" / contract.MODEL
    path.write_bytes(path.read_bytes()[:-1] + b"?")


ARTIFACTS: dict[str, tuple[Break, str]] = {
    "a changed byte": (changed_byte, "model.onnx is not the one packed: SHA-256 "),
    "a wrong signature": (manifest(wrong_signature), "model.onnx does not run as the manifest says: "),
    "missing labels": (manifest(lambda it: it["labels"].pop()), "2 labels for 3 classes"),
    "no labels": (manifest(lambda it: it.pop("labels")), "manifest.json: Object missing required field"),
    "no manifest": (lambda folder: (folder / "edge" / "manifest.json").unlink(), "has no manifest.json"),
}


@pytest.mark.parametrize(("spoil", "problem"), ARTIFACTS.values(), ids=ARTIFACTS)
def test_a_spoiled_artifact_is_exit_code_2(folder: Path, spoil: Break, problem: str) -> None:
    spoil(folder)
    assert complaint(run(folder), 2).startswith(f"artifact {folder / 'edge'}: {problem}")


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"gate": {"treshold": 0.5}}, "{config}: gate.treshold: unknown key"),
    "a wrong type": ({"gate": {"threshold": "high"}}, "{config}: gate.threshold: expected `float"),
    "an unknown section": ({"clout": {}}, "{config}: clout: unknown key"),
    "no name": ({"node": {"site": "lab"}}, "{config}: node.name: required, but not given"),
    "no artifact there": ({"model": {"path": "absent"}}, "artifact {folder}/absent: no such directory"),
    "no password file": (
        {"mqtt": {"host": HOST, "username": "u", "password_file": "absent"}},
        "[mqtt] {folder}/absent: no such file or directory",
    ),
    "a sensor topic without a broker": (
        {"source": {"kind": "mqtt", "topic": "t"}},
        '[source] kind = "mqtt" needs a section [mqtt] that says which broker',
    ),
    "a sensor topic that is none": (
        {"source": {"kind": "mqtt", "topic": "a/#/b"}, "mqtt": {"host": HOST}},
        "[source] topic 'a/#/b': + stands for one whole level, # for all levels at the end",
    ),
    "its own results as samples": (
        {"source": {"kind": "mqtt", "topic": "tidegate/#"}, "mqtt": {"host": HOST}},
        "[source] topic 'tidegate/#' would feed this node its own results",
    ),
}


@pytest.mark.parametrize(("sections", "problem"), SETTINGS.values(), ids=SETTINGS)
def test_a_mistake_in_the_settings_is_exit_code_2(
    folder: Path, sections: dict[str, Any], problem: str
) -> None:
    expected = problem.format(config=folder / "node.toml", folder=folder)
    assert complaint(run(folder, **sections), 2).startswith(expected)


SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "no file": ({"kind": "array", "path": "absent.npy"}, "{folder}/absent.npy: no such file"),
    "no array": ({"kind": "array", "path": "node.toml"}, "{folder}/node.toml: not a .npy file of numbers"),
    "no folder": ({"kind": "directory", "path": "absent"}, "{folder}/absent: no such file or directory"),
    "no image": ({"kind": "directory", "path": "edge"}, "{folder}/edge: holds no image"),
}


@pytest.mark.parametrize(("source", "problem"), SOURCES.values(), ids=SOURCES)
def test_a_source_that_is_not_there_is_exit_code_3(
    folder: Path, source: dict[str, Any], problem: str
) -> None:
    expected = problem.format(folder=folder)
    assert complaint(run(folder, source=source), 3).startswith(f"source {expected}")


def test_a_missing_file_of_settings_is_exit_code_2(tmp_path: Path) -> None:
    ended = finished("run", "--config", tmp_path / "absent.toml")
    assert complaint(ended, 2) == f"{tmp_path / 'absent.toml'}: no such file or directory"


def test_settings_that_are_no_toml_are_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("[node")
    assert "not TOML" in complaint(finished("run", "--config", tmp_path / "node.toml"), 2)


def test_settings_without_a_source_are_exit_code_2(folder: Path) -> None:
    config = write_config(folder, folder / "edge")
    ended = finished("run", "--config", config)
    assert complaint(ended, 2) == f"{config}: there is nothing to run on: add a section [source]"


def test_a_mistake_in_the_environment_is_exit_code_2_and_names_the_variable(folder: Path) -> None:
    config = write_config(folder, folder / "edge")
    ended = finished("run", "--config", config, TIDEGATE_GATE__TRESHOLD="0.5")
    assert complaint(ended, 2) == "TIDEGATE_GATE__TRESHOLD: gate.treshold: unknown key"


def test_a_metrics_port_that_is_taken_is_exit_code_2(folder: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(folder, metrics={"port": port})
    assert complaint(ended, 2).startswith(f"metrics on {HOST}:{port}: address already in use")


def test_a_cloud_with_another_model_is_exit_code_2_and_names_both(folder: Path) -> None:
    expected = contract.load(folder / "cloud").sha256
    with cloud(sha256="1" * 64) as port:
        ended = run(folder, cloud={"target": f"{HOST}:{port}"})
    assert complaint(ended, 2) == (
        f"cloud {HOST}:{port}: the artifact expects model 'cloud' of sha256 {expected}, "
        f"the server has model 'cloud' of sha256 {'1' * 64}"
    )


def test_a_cloud_model_that_nobody_named_is_exit_code_2(tmp_path: Path, folder: Path) -> None:
    edge_artifact(tmp_path / "edge")
    ended = run(folder, cloud={"target": f"{HOST}:1"})
    assert complaint(ended, 2) == (f"artifact {folder / 'edge'} names no cloud model: set [cloud] model")
