"""A real MQTT 5 broker as a child process on loopback.

Mosquitto when it is on the machine, else `iotcore` from PyPI, a Rust broker in a wheel: of the
brokers that pip installs on every platform it is the one that speaks MQTT 5, which `amqtt` does not.
"""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from deploy.demo.errors import DemoError
from deploy.demo.processes import HOST, Child, wait_until

_START_TIMEOUT = 10.0
_ATTEMPTS = 3
"""Another program may take the chosen port before the broker does."""

# `user root` keeps whoever starts the broker as its owner: a change of user would undo the
# kernel's promise to end the broker with its parent.
_MOSQUITTO = """\
listener {port} {host}
allow_anonymous true
user root
persistence false
max_connections 200
max_packet_size 4194304
max_queued_messages 10000
log_dest stdout
log_type error
log_type warning
"""

# Segments hold what passes through until they are full: the default of 100 MB each grows to a gigabyte.
_IOTCORE = """\
id = 0
[router]
id = 0
max_connections = 200
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10
[v5.demo]
name = "demo"
listen = "{host}:{port}"
next_connection_delay_ms = 0
[v5.demo.connections]
connection_timeout_ms = 5000
max_payload_size = 4194304
max_inflight_count = 100
dynamic_filters = true
"""

# Its router reports every packet at ERROR.
_IOTCORE_MAIN = """
import logging, sys
from iotcore import IotCoreBroker
logging.basicConfig(stream=sys.stdout)
logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
IotCoreBroker(config_path=sys.argv[1]).run_forever()
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answers."""

    kind: str
    """`mosquitto` or `iotcore`."""
    host: str
    port: int
    process: Child


def _mosquitto_program() -> str | None:
    """Where Mosquitto is; Debian keeps it in a folder that is not on every user's PATH."""
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


def _mosquitto(config: Path) -> list[str | Path]:
    return [_mosquitto_program() or "mosquitto", "-c", config]


def _iotcore(config: Path) -> list[str | Path]:
    return [sys.executable, "-c", _IOTCORE_MAIN, config]


@dataclass(frozen=True, slots=True)
class _Kind:
    file: str
    config: str
    command: Callable[[Path], list[str | Path]]
    installed: Callable[[], bool]


_KINDS: Mapping[str, _Kind] = {
    "mosquitto": _Kind("mosquitto.conf", _MOSQUITTO, _mosquitto, lambda: _mosquitto_program() is not None),
    "iotcore": _Kind("iotcore.toml", _IOTCORE, _iotcore, lambda: find_spec("iotcore") is not None),
}


def installed() -> list[str]:
    """The kinds of broker on this machine, the preferred one first."""
    return [name for name, kind in _KINDS.items() if kind.installed()]


@contextmanager
def open_broker(run_dir: Path, kind: str | None = None) -> Iterator[Broker]:
    """Run a broker of `kind`, else the preferred one, until the block ends; config and log in `run_dir`.

    Raises DemoError when there is no broker or it does not answer.
    """
    if kind is None and not installed():
        raise DemoError("no MQTT broker here: install mosquitto, or run `pip install iotcore`")
    kind = kind or installed()[0]
    config, log = run_dir / _KINDS[kind].file, run_dir / "broker.log"
    for _ in range(_ATTEMPTS):
        port = _free_port()
        config.write_text(_KINDS[kind].config.format(host=HOST, port=port))
        with Child("broker", _KINDS[kind].command(config), log) as process:
            if _answers(port, process):
                yield Broker(kind, HOST, port, process)
                return
            if process.poll() is None:
                raise DemoError(f"the {kind} broker does not answer on {HOST}:{port} (log: {log})")
            complaint = process.last_line()
    raise DemoError(f"the {kind} broker ended at start: {complaint} (log: {log})")


def _answers(port: int, process: Child) -> bool:
    """Whether the broker accepts an MQTT 5 CONNECT before it ends or the time is up."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    wait_until(lambda: process.poll() is not None or _accepted(client, port), _START_TIMEOUT)
    answered = client.is_connected()
    client.disconnect()
    return answered


def _accepted(client: Client, port: int) -> bool:
    try:
        client.connect(HOST, port)
        client.loop(timeout=1.0)
    except OSError:
        return False
    return client.is_connected()


def _free_port() -> int:
    """A loopback port nobody listens on; neither broker can choose one and say which."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
