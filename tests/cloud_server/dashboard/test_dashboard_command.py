"""``cloud-server`` with `[dashboard]`: served beside the fleet, or one line that says why not."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from deploy.demo.broker import Broker
from deploy.demo.processes import Child, wait_until
from tests.cloud_server.process import COMMAND, environment, finished
from tests.mqtt import PATIENCE

FLEET = '[fleet]\ndatabase = "sqlite:///fleet.sqlite"\nmqtt = {{ host = "{host}", port = {port} }}\n'
PAGE = "[dashboard]\nport = 0\n[metrics]\nport = 0\n"


def asked(url: str, what: str) -> Any:
    with urlopen(f"{url}api/{what}", timeout=PATIENCE) as answer:
        return json.load(answer)


def test_a_fleet_is_shown_from_start_to_stop(broker: Broker, workplace: Path) -> None:
    config = workplace / "cloud.toml"
    config.write_text(PAGE + FLEET.format(host=broker.host, port=broker.port))
    with Child("server", [*COMMAND, "run", "--config", config], workplace / "log", environment()) as child:

        def said() -> "re.Match[str] | None":
            return re.search(r"dashboard on (\S+)\n", child.log.read_text())

        assert wait_until(lambda: said() is not None, PATIENCE), child.log.read_text()
        found = said()
        assert found
        assert wait_until(lambda: asked(found[1], "overview")["hearing"], PATIENCE)
        with urlopen(found[1], timeout=PATIENCE) as page:
            assert b"<title>Tidegate</title>" in page.read()
        child.terminate()
        assert child.wait(PATIENCE) == 0


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_page_without_a_fleet_is_a_mistake(workplace: Path, command: str) -> None:
    config = workplace / "cloud.toml"
    config.write_text(f'{PAGE}[[models]]\npath = "some.onnx"\n')
    ended = finished([command, "--config", config])
    assert ended.returncode == 2
    assert ended.stderr == "cloud-server: [dashboard] shows the nodes of [fleet], which is missing\n"


def test_without_its_libraries_the_server_says_what_to_install(workplace: Path) -> None:
    config = workplace / "cloud.toml"
    config.write_text(PAGE + FLEET.format(host="broker.invalid", port=1883))
    code = (
        "import sys; sys.modules['uvicorn'] = None; from cloud_server import cli;"
        f"sys.exit(cli.main(['check', '--config', {str(config)!r}]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "pip install 'tidegate[dashboard]'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_server_without_a_page_loads_nothing_of_it() -> None:
    code = (
        "import sys, cloud_server.fleet.serving, cloud_server.server;"
        "print([it for it in ('starlette', 'uvicorn', 'cloud_server.dashboard') if it in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
