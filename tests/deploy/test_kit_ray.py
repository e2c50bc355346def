"""`deploy/ray`: a real Ray with our application, called as our server is, on a network of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloud_server.calls.servicer import EXTENSIONS
from protos import artifact
from tests.integration.fleet import artifacts
from tests.models import LABELS
from tests.nodes import environment
from tests.services import require

ROOT = Path(__file__).parents[2]
ALONE = ("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = artifacts(tmp_path_factory.mktemp("ray"))
    (folder / "cloud.toml").write_text(f'models = [{{ path = "{folder / "cloud"}" }}]\n')
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, Any]:
    """What was seen of it, from outside."""
    require("ray")
    require("ip")
    command: list[str | Path] = [
        require("unshare"),
        *ALONE,
        sys.executable,
        "-m",
        "tests.deploy.ray_stand",
        folder,
    ]
    environ = environment(RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=str(ROOT), HOME=str(folder))
    ended = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=180
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    seen: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return seen


def test_it_answers_as_our_server_does(seen: dict[str, Any], folder: Path) -> None:
    digest = artifact.load(folder / "cloud").sha256
    assert (seen["ready"], seen["model"], seen["digests"]) == (True, "cloud", [digest, digest])
    assert (seen["id"], seen["logits"]) == ("7", [[0, 5, 0]])


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        ("unknown", "NOT_FOUND", "no model 'absent'"),
        ("garbage", "INVALID_ARGUMENT", "Error parsing message"),
        ("stream", "UNIMPLEMENTED", "Method not found!"),
    ],
)
def test_it_refuses_as_our_server_does(seen: dict[str, Any], call: str, status: str, words: str) -> None:
    assert seen[call][0] == status
    assert words in seen[call][1]


def test_an_edge_node_falls_back_to_it(seen: dict[str, Any]) -> None:
    assert seen["node"] == [["confident", LABELS[1]], ["cloud", LABELS[1]]]


def test_nothing_is_left_of_it(seen: dict[str, Any]) -> None:
    assert seen["left"] == []


def test_ray_knows_every_word_of_its_configuration(seen: dict[str, Any]) -> None:
    assert seen["unknown_words"] == []


def test_it_claims_no_more_than_it_does(seen: dict[str, Any]) -> None:
    assert set(EXTENSIONS) - set(seen["extensions"]) == {"model_repository", "statistics", "streaming"}
