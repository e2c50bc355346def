"""Who ends the wait of a result: the broker, or the results sink."""

import logging
from contextlib import suppress
from pathlib import Path

from edge_node.config import Outbox as Settings
from edge_node.outbox.files import HEARD, sync

log = logging.getLogger(__name__)


class Confirmation:
    """Whose word is taken. With ``auto`` the broker's, until a sink is first heard: from then on the sink's.

    That holds over restarts: a broker that forgets results may have forgotten the sink's word as well.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder, self._mode = folder, settings.confirm
        if self._mode == "puback":  # there is no sink, says who should know: none was heard
            with suppress(OSError):
                self._mark.unlink(missing_ok=True)
        self._heard = self._mark.exists()

    @property
    def listens(self) -> bool:
        """Whether a sink's word counts at all."""
        return self._mode != "puback"

    @property
    def by_sink(self) -> bool:
        """Whether only a sink's word counts."""
        return self._mode == "sink" or (self._mode == "auto" and self._heard)

    def hear(self) -> None:
        """A sink has spoken to this node."""
        if self._heard:
            return
        self._heard = True
        with suppress(OSError):  # a full disk: it will be heard again
            self._mark.touch()
            sync(self._folder)
        log.info("there is a results sink: results wait for its word, whatever the broker says")

    @property
    def _mark(self) -> Path:
        return self._folder / HEARD
