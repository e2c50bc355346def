"""``cloud-server`` with `[fleet]`: alone, beside models, checked, asked for its gaps."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from cloud_server.config import load
from deploy.demo.broker import Broker
from deploy.demo.processes import wait_until
from tests.cloud_server.fleet import sinks
from tests.cloud_server.fleet.rows import arrival, ask, ids, opened
from tests.cloud_server.fleet.sinks import Device, process
from tests.cloud_server.process import COMMAND, environment, finished
from tests.models import linear
from tests.mqtt import PATIENCE

LITE = """
metrics = { port = 0 }
[fleet]
database = "sqlite:///fleet.sqlite"
mqtt = { host = "broker.invalid" }
"""


@pytest.fixture
def config(workplace: Path) -> Path:
    """A sink whose broker is away, and whose database is a file here."""
    path = workplace / "cloud.toml"
    path.write_text(LITE)
    return path


def refused(command: str, config: Path) -> str:
    ended = finished([command, "--config", config])
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    return line


def test_a_fleet_only_server_from_start_to_stop(broker: Broker, root: str, tmp_path: Path) -> None:
    settings = sinks.fleet(broker, root, f"sqlite:///{tmp_path}/fleet.sqlite")
    device = Device(broker, root, 100)
    with process(settings, tmp_path / "sink") as child:
        assert wait_until(lambda: "ready" in child.log.read_text(), PATIENCE)
        (said,) = (line for line in child.log.read_text().splitlines() if "ready" in line)
        assert said.startswith("cloud-server ready, metrics on http://127.0.0.1:")
        assert said.endswith(f", results from {broker.host}:{broker.port} into {settings.database}")
        device.deliver()
        url = said.partition(" metrics on ")[2].partition(",")[0]
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            assert "tidegate_stored_results_total 100.0" in answer.read().decode()
        child.terminate()
        assert child.wait(PATIENCE) == 0
    assert ids(str(settings.database)) == device.ids


def test_models_and_fleet_in_one_process(config: Path) -> None:
    linear(config.with_name("plain.onnx"))
    with subprocess.Popen(
        [*COMMAND, "run", "plain.onnx", "--port", "0", "--config", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    ) as server:
        assert server.stdout
        said = server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    assert "models: plain 1, results from broker.invalid:1883 into sqlite:///fleet.sqlite\n" in said


def test_check_says_what_it_would_store_where(config: Path) -> None:
    ended = finished(["check", "--config", config])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith(
        "would store results from broker.invalid:1883 into sqlite:///fleet.sqlite; "
        "subscribed to tidegate/+/+/result\n"
    )


def test_the_gaps_by_node(config: Path) -> None:
    with opened("sqlite:///fleet.sqlite") as store:
        store.write([arrival(3, floor=3), arrival(9, floor=9, node="b")])
    ended = finished(["gaps", "--config", config])
    assert (ended.returncode, ended.stderr) == (0, "")
    first, second = ended.stdout.splitlines()
    assert first.startswith("lab/a stream 7: 0 to 2 (3), since 20")
    assert second.startswith("lab/b stream 7: 0 to 8 (9), since 20")


def test_gaps_of_a_server_that_stores_nothing(workplace: Path) -> None:
    (workplace / "cloud.toml").write_text("models = [{ path = 'x' }]")
    said = refused("gaps", Path("cloud.toml"))
    assert said == "cloud-server: no [fleet]: give the --config of the server that stores the results"


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ('fleet.database = "oracle://x"', "[fleet] database: oracle is neither sqlite nor postgresql"),
        (
            'fleet.database_password_file = "absent"\nfleet.database = "postgresql://me@/x"',
            "[fleet] absent: no such file or directory",
        ),
        (
            'fleet.mqtt.password_file = "absent"',
            "[fleet] absent: no such file or directory",
        ),
        ('fleet.mqtt.tls.ca = "absent"', "[fleet] absent: no such file or directory"),
        ('fleet.group = "a/b"', "cloud.toml: fleet.group: expected `str` matching regex"),
        ("fleet.keep = -1", "cloud.toml: fleet.keep: expected `float` >= 0.0"),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_mistake_is_one_line(workplace: Path, setting: str, problem: str, command: str) -> None:
    (workplace / "cloud.toml").write_text(f'metrics.port = 0\nfleet.mqtt.host = "broker.invalid"\n{setting}')
    assert refused(command, Path("cloud.toml")).startswith(f"cloud-server: {problem}")


def test_check_says_when_the_database_is_away(config: Path) -> None:
    """A server that runs waits for it."""
    config.write_text(LITE.replace("fleet.sqlite", "away/fleet.sqlite"))
    assert refused("check", config) == "cloud-server: [fleet] database: unable to open database file"


def test_a_password_is_never_shown(workplace: Path) -> None:
    (workplace / "secret").write_text("opensesame")
    (workplace / "cloud.toml").write_text(
        'metrics.port = 0\nfleet.mqtt = { host = "x", username = "u", password_file = "secret" }\n'
        f'fleet.database = "postgresql://me@/x?host={workplace}"\nfleet.database_password_file = "secret"\n'
    )
    ended = finished(["check", "--config", "cloud.toml"])
    assert ended.returncode == 2
    assert "[fleet] database: connection" in ended.stderr
    assert "opensesame" not in ended.stdout + ended.stderr


def modules(script: str) -> set[str]:
    code = f"{script}\nimport sys; print(*sys.modules, sep='\\n')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.splitlines())


def test_neither_part_loads_what_only_the_other_needs(config: Path) -> None:
    beside = modules("from cloud_server import server, cli; import cloud_server.calls.serving")
    assert not beside & {"sqlalchemy", "paho", "psycopg"}
    alone = modules(
        f"from cloud_server import config, server\nfrom pathlib import Path\n"
        f"with server.serve(config.load(Path({str(config)!r}))): pass"
    )
    assert {"sqlalchemy", "paho"} <= alone
    assert not alone & {"onnxruntime", "psycopg", "cloud_server.calls.serving"}


GUIDE = (Path(__file__).parents[3] / "docs/fleet.md").read_text()


def block(language: str) -> str:
    """The guide's one example in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return str(found)


def test_the_settings_of_the_guide(workplace: Path) -> None:
    (workplace / "cloud.toml").write_text(block("toml"))
    settings = load(workplace / "cloud.toml").fleet
    assert settings
    assert settings.keep == 90


def test_the_query_of_the_guide(database: str) -> None:
    with opened(database) as store:
        store.write([arrival(0), arrival(1, route="cloud"), arrival(2, state="provisional")])
    assert ask(database, block("sql")) == [("a", 2, 2.0, 0.5)]
