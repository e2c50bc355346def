"""``check`` says what a node would do, and what would keep it from doing so, before anything is sent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_node.check import check
from edge_node.errors import NodeError, SourceError
from protos.artifact import Artifact, ArtifactError
from tests.models import cloud_artifact, edge_artifact
from tests.nodes import finished, settings, write_config

NOWHERE = {"target": "192.0.2.1:1", "model": "resnet"}


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Any]:
    np.save(tmp_path / "rows.npy", np.zeros((1, 3), np.float32))
    return {"kind": "array", "path": "rows.npy"}


def test_an_edge_only_node_is_told(tmp_path: Path, artifact: Artifact, rows: dict[str, Any]) -> None:
    assert list(check(settings(tmp_path, artifact, source=rows))) == [
        "model    edge 1, fp32, 3 classes",
        f"sha256   {artifact.sha256}",
        "gate     threshold: answers itself from score 0.8 on",
        "promise  none: the artifact carries no certificate for this gate",
        "cloud    none: edge-only",
        "results  to standard output",
    ]


def test_a_node_with_everything_is_told_without_asking_anybody(
    tmp_path: Path, artifact: Artifact, rows: dict[str, Any]
) -> None:
    sections = {"cloud": NOWHERE, "mqtt": {"host": "192.0.2.1"}, "gate": {"policy": "always_cloud"}}
    *_, gate, _promise, cloud, results = check(settings(tmp_path, artifact, source=rows, **sections))
    assert gate == "gate     always_cloud: answers itself from score inf on"
    assert cloud == "cloud    asks resnet at 192.0.2.1:1"
    assert results == "results  to tidegate/lab/a/result"


def test_the_artifact_s_own_cloud_model_is_told(tmp_path: Path) -> None:
    artifact = edge_artifact(tmp_path / "edge", cloud_artifact(tmp_path / "cloud"))
    lines = list(check(settings(tmp_path, artifact, cloud={"target": "x:1"})))
    assert "cloud    asks cloud at x:1" in lines


@pytest.mark.parametrize(
    ("sections", "error", "problem"),
    [
        ({"source": {"kind": "array", "path": "absent.npy"}}, SourceError, "no such file"),
        ({"source": {"kind": "mqtt", "topic": "t"}}, NodeError, r"needs a section \[mqtt\]"),
        ({"cloud": {"target": "x:1"}}, NodeError, r"set \[cloud\] model"),
        ({"mqtt": {"host": "x", "username": "u", "password_file": "absent"}}, NodeError, "absent"),
        ({"model": {"path": "absent"}}, ArtifactError, "no such directory"),
    ],
)
def test_what_would_stop_a_node_is_said(
    tmp_path: Path, artifact: Artifact, sections: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        list(check(settings(tmp_path, artifact, **sections)))


def test_the_command_prints_every_setting_and_what_comes_of_them(
    tmp_path: Path, artifact: Artifact, rows: dict[str, Any]
) -> None:
    ended = finished("check", "--config", write_config(tmp_path, artifact, source=rows))
    assert (ended.code, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert 'node.name = "a"' in lines
    assert 'gate.policy = "threshold"' in lines
    assert lines[-1] == "results  to standard output"
