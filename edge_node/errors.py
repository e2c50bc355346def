"""What can stop a node, and the exit code that says so to a supervisor.

::

    NodeError
    ├─ ModelMismatch   2   the cloud serves another model than the manifest names
    ├─ PortInUse       2
    ├─ OutboxError     2   the folder of waiting results cannot be used
    ├─ OutdatedError   3   the waiting results are an old copy: started again, the node mends it
    ├─ SelftestFailed  4   the golden vectors are not reproduced on this device
    └─ SourceError     3   the samples' source is gone: a supervisor may restart
    protos.settings.SettingsError, protos.artifact.ArtifactError   2

A bad sample (``SampleError``) and a failed cloud call stop nothing: each becomes a result with a
reason.
"""

from pathlib import Path


class NodeError(Exception):
    """Stops the node; the message is for its operator."""

    exit_code = 2


class ModelMismatch(NodeError):
    """The cloud serves another model than the edge artifact names."""

    def __init__(self, target: str, expected: str, found: str) -> None:
        super().__init__(f"cloud {target}: the artifact expects {expected}, the server has {found}")


class PortInUse(NodeError):
    """The metrics port is taken, or the address is not this machine's."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        super().__init__(f"metrics on {host}:{port}: {problem}; set [metrics] port to another one, or to 0")


class OutboxError(NodeError):
    """The folder of waiting results cannot be used."""

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(f"outbox {folder}: {problem}")


class OutdatedError(NodeError):
    """The outbox is an old copy of itself; the next start mends it."""

    exit_code = 3


class SelftestFailed(NodeError):
    """The model does not reproduce its golden vectors on this device."""

    exit_code = 4


class SourceError(NodeError):
    """The source of samples cannot be read (any more)."""

    exit_code = 3

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"source {path}: {problem}")


class SampleError(ValueError):
    """A sample that is not one: says what it is and what it should be."""
