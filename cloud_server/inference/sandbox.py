"""A model file is tried where it can do no harm: a process with bounded memory, a deadline, no file to write.

It is tried on the CPU: other execution providers map more address space than there is memory.
"""

import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import cloud_server
from cloud_server.config import Loading
from cloud_server.errors import ModelError
from protos.artifact import ArtifactError
from protos.image import NoPillow

_REFUSED = 2
_CODE = str(Path(cloud_server.__file__).parents[1])
"""Where our packages lie, for a child that does not look into its working directory."""


def try_out(path: Path, limits: Loading) -> str:
    """Load and run once in a child: SHA-256 of the ONNX file that did; ``ModelError`` says why none did."""
    allowed = str(limits.memory), str(math.ceil(limits.deadline))
    command = [sys.executable, "-P", "-m", __name__, str(path), *allowed]
    environment = os.environ | {"PYTHONPATH": _CODE}
    try:
        child = subprocess.run(  # noqa: S603 - ourselves
            command, env=environment, capture_output=True, text=True, timeout=limits.deadline, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(
            path, f"did not load and run within {limits.deadline:g} s ([loading] deadline)"
        ) from None
    if child.returncode:
        raise ModelError(path, _problem(child, limits))
    return child.stdout


def _problem(child: subprocess.CompletedProcess[str], limits: Loading) -> str:
    if child.returncode == _REFUSED:
        return child.stdout
    if "alloc" in child.stderr or "MemoryError" in child.stderr:
        return f"does not load and run in {limits.memory} MiB ([loading] memory)"
    ended = (
        signal.Signals(-child.returncode).name if child.returncode < 0 else f"exit code {child.returncode}"
    )
    last = child.stderr.strip().rpartition("\n")[2]
    return f"its trial crashed: {', '.join(filter(None, (ended, last)))}"


def main(path: Path, memory: int, deadline: int) -> int:
    """The child: exit code 0 and the SHA-256, or ``_REFUSED`` and what is wrong."""
    from cloud_server.inference import loading

    _limit(resource.RLIMIT_AS, _address_space() + (memory << 20))
    _limit(resource.RLIMIT_CPU, deadline + 1)  # should nobody be left to end us
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        card, _ = loading.load_model(path)
    except (ModelError, ArtifactError) as error:
        sys.stdout.write(error.problem)
        return _REFUSED
    except NoPillow as error:
        sys.stdout.write(str(error))
        return _REFUSED
    sys.stdout.write(card.sha256)
    return 0


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
