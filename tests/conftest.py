"""What every test may use."""

from pathlib import Path

import pytest

from protos.artifact import Artifact
from tests import services
from tests.models import edge_artifact


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was not tested here, and how to change that."""
    for program in sorted(services.missing):
        terminalreporter.write_line(f"not tested without {program}: {services.HOW_TO_GET[program]}")


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small edge artifact: 3 numbers in, 3 classes, confident where one number stands out."""
    return edge_artifact(tmp_path_factory.mktemp("artifact") / "edge")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is also the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
