"""A model file is tried where it can do no harm: a process with bounded memory, a deadline, no file to write.

It is tried on the CPU: other execution providers map more address space than there is memory.
"""

import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cloud_server
from cloud_server.config import CloudConfig, Loading
from cloud_server.errors import ModelError

_REFUSED = 2
_CODE = str(Path(cloud_server.__file__).parents[1])
"""Where our packages lie, for a child that does not look into its working directory."""


class Trial:
    """A model file in its sandbox: begun as this is made."""

    def __init__(self, path: Path, limits: Loading) -> None:
        self._path, self._limits = path, limits
        allowed = str(limits.memory), str(math.ceil(limits.deadline))
        self._child = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-P", "-m", __name__, str(path), *allowed],
            env=os.environ | {"PYTHONPATH": _CODE},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self) -> str:
        """SHA-256 of the ONNX file that loaded and ran once; ``ModelError`` says why none did."""
        try:
            out, errors = self._child.communicate(timeout=self._limits.deadline)
        except subprocess.TimeoutExpired:
            raise ModelError(
                self._path,
                f"did not load and run within {self._limits.deadline:g} s ([loading] deadline)",
            ) from None
        finally:
            self.end()
        if self._child.returncode:
            raise ModelError(self._path, _problem(self._child.returncode, out, errors, self._limits))
        return out

    def end(self) -> None:
        """Whatever it has come to."""
        with self._child as child:
            child.kill()


_begun: dict[Path, Trial] = {}


@contextmanager
def early(settings: CloudConfig) -> Iterator[None]:
    """The first model's trial is under way while inside, so that what serves it can be loaded meanwhile."""
    if settings.models and settings.server.workers == 1:
        path = settings.models[0].path
        _begun[path] = Trial(path, settings.loading)
    try:
        yield
    finally:
        while _begun:
            _begun.popitem()[1].end()


def try_out(path: Path, limits: Loading) -> str:
    """As ``Trial.result``, of one that was begun early or is begun now."""
    return (_begun.pop(path, None) or Trial(path, limits)).result()


def _problem(code: int, out: str, errors: str, limits: Loading) -> str:
    if code == _REFUSED:
        return out
    if "alloc" in errors or "MemoryError" in errors:
        return f"does not load and run in {limits.memory} MiB ([loading] memory)"
    ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    last = errors.strip().rpartition("\n")[2]
    return f"its trial crashed: {', '.join(filter(None, (ended, last)))}"


def main(path: Path, memory: int, deadline: int) -> int:
    """The child: exit code 0 and the SHA-256, or ``_REFUSED`` and what is wrong."""
    from cloud_server.inference import loading
    from protos.artifact import ArtifactError
    from protos.image import NoPillow

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
