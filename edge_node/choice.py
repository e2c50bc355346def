"""Which form of the model runs here: what the selftest chose, remembered until the device changes."""

import logging
import platform
from pathlib import Path

import msgspec

from edge_node.state import state_directory
from protos import artifact as contract
from protos.artifact import Artifact

log = logging.getLogger(__name__)


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One choice among the forms of an artifact."""

    cpu: str
    """What it was measured on."""
    sha256: str
    """Of the chosen ONNX file."""


def remember(artifact: Artifact, chosen: Artifact) -> Path | None:
    """Keep the choice for ``recall``; the file that holds it, or ``None`` if it cannot be written."""
    path = _path(artifact)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(Choice(cpu(), chosen.sha256)))
    except OSError as error:
        log.warning("the choice cannot be remembered: %s", error)
        return None
    return path


def recall(artifact: Artifact) -> Artifact:
    """The form that the selftest chose on this very CPU; else the artifact itself."""
    forms = {form.sha256: form for form in (artifact, *artifact.variants.values())}
    try:
        choice = msgspec.json.decode(_path(artifact).read_bytes(), type=Choice)
    except (OSError, msgspec.DecodeError):
        return artifact
    if choice.cpu != cpu() or choice.sha256 not in forms:
        log.warning("the selftest's choice is out of date: run edge-node selftest %s", artifact.directory)
        return artifact
    return forms[choice.sha256]


def cpu() -> str:
    """The processor's model, where the system tells it, and its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = sorted({line for line in lines if line.startswith(("model name", "CPU part"))})
    return " ".join((platform.machine(), *(line.partition(":")[2].strip() for line in told)))


def _path(artifact: Artifact) -> Path:
    digest = contract.digest(artifact.directory / contract.MANIFEST)
    return state_directory() / f"choice-{digest[:16]}.json"
