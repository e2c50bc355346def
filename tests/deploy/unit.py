"""A unit of `deploy/systemd`, run as far as that goes without systemd: program, environment, filter."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deploy.demo.processes import Child
from tests.services import require

UNITS = Path(__file__).parents[2] / "deploy/systemd"
SANDBOX = Path(__file__).with_name("sandbox.py")
INSTALLED, CONFIGURATION = "/opt/tidegate/bin", "/etc/tidegate"


@dataclass(frozen=True)
class Unit:
    """``folder`` stands for the unit's configuration and credentials."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def values(self, directive: str) -> list[str]:
        """What the unit says to ``directive``, a line each."""
        lines = (UNITS / self.name).read_text().splitlines()
        return [line.partition("=")[2] for line in lines if line.startswith(f"{directive}=")]

    def command(self) -> list[str]:
        (line,) = self.values("ExecStart")
        assert line.startswith(INSTALLED)
        here = line.replace(INSTALLED, str(Path(sys.executable).parent))
        return here.replace(CONFIGURATION, str(self.folder)).split()

    def environment(self) -> dict[str, str]:
        pairs = " ".join(self.values("Environment")).replace("%d", str(self.folder)).split()
        return dict(pair.replace(CONFIGURATION, str(self.folder)).split("=", 1) for pair in pairs)

    @contextmanager
    def running(self, **more: str) -> Iterator[Child]:
        """The unit's program under its filter, with ``more`` in its environment."""
        calls = self.folder / f"{self.name}.calls"
        calls.write_text("\n".join(sorted(self.allowed_calls())))
        variables = [f"{key}={value}" for key, value in {**self.environment(), **more}.items()]
        sandbox: list[str | Path] = ["env", *variables, sys.executable, SANDBOX, calls]
        with Child(self.name, [*sandbox, *self.command()], self.log) as child:
            yield child

    def allowed_calls(self) -> set[str]:
        allowed: set[str] = set()
        for line in self.values("SystemCallFilter"):
            named = set[str]().union(*(members(name) for name in line.lstrip("~").split()))
            allowed = allowed - named if line.startswith("~") else allowed | named
        return allowed


@cache
def members(name: str) -> set[str]:
    """The system calls of a ``@set``, or the one of that name."""
    if not name.startswith("@"):
        return {name}
    command: list[str | Path] = [require("systemd-analyze"), "syscall-filter", name]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")[1:]
    names = (line.strip() for line in listed if line.strip() and not line.strip().startswith("#"))
    return set[str]().union(*(members(name) for name in names))
