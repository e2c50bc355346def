"""What every test may use."""

import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from deploy.demo.broker import Broker, open_broker
from protos.artifact import Artifact
from tests import services
from tests.models import edge_artifact

LONGEST = 300
"""Seconds; the slowest test takes a tenth of that on a busy machine."""

settings.register_profile("tidegate", deadline=None)  # a machine that is busy is no failure
settings.load_profile("tidegate")


def pytest_configure() -> None:
    """A runner in the background ignores Ctrl-C, and the programs under test would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything was installed to be tested, a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if services.required() and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was not tested here, and how to change that."""
    for program in sorted(services.missing):
        terminalreporter.write_line(f"not tested without {program}: {services.HOW_TO_GET[program]}")
    if services.required() and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("failed: TIDEGATE_REQUIRE_SERVICES=1, and yet something was skipped")


@pytest.fixture(autouse=True)
def end_of_patience() -> Iterator[None]:
    """A test that hangs fails, wherever it hangs."""

    def end(*_: object) -> None:
        raise TimeoutError(f"a test takes longer than {LONGEST} s")

    previous = signal.signal(signal.SIGALRM, end)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small edge artifact: 3 numbers in, 3 classes, confident where one number stands out."""
    return edge_artifact(tmp_path_factory.mktemp("artifact") / "edge")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is also the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker for all tests that leave it alone: each keeps to a ``root`` of its own."""
    with open_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def root() -> str:
    """First level of the topics of one test."""
    return f"root-{uuid4().hex[:8]}"
