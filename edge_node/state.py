"""Where a node keeps what must survive it."""

import os
from pathlib import Path


def state_directory() -> Path:
    """What systemd keeps for the service, else in the user's own state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(os.environ.get("STATE_DIRECTORY") or Path(state) / "tidegate")
