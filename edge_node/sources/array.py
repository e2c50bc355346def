"""Samples from a ``.npy`` file, without reading it into memory."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from threading import Event

import numpy as np

from edge_node import config
from edge_node.bookmark import OrderedBookmark, Place
from edge_node.errors import SourceError
from edge_node.sample import Sample
from edge_node.sources import paced
from protos.codec import Tensor


class ArraySource:
    """Row after row of an array (n, ...); a sample is named by its row."""

    def __init__(self, settings: config.ArraySource) -> None:
        self._settings = settings
        self._left: Callable[[Iterable[Place]], Iterator[Place]] = iter
        self._turn = 0
        self.live = settings.rate > 0
        try:
            self._rows: Tensor = np.lib.format.open_memmap(settings.path, mode="r")
        except FileNotFoundError:
            raise SourceError(settings.path, "no such file") from None
        except (OSError, ValueError) as error:
            raise SourceError(settings.path, f"not a .npy file of numbers: {error}") from error
        if self._rows.ndim < 1 or not len(self._rows):
            raise SourceError(settings.path, "holds no samples")

    def key(self) -> str:
        """As ``Replayable``: a file that was written again is another one."""
        path = self._settings.path.resolve()
        facts = path.stat()
        return f"array {path} {facts.st_size} {facts.st_mtime_ns}"

    def resume(self, saved: bytes | None) -> OrderedBookmark:
        """As ``Replayable``."""
        bookmark = OrderedBookmark(saved)
        self._left, self._turn = bookmark.left, bookmark.round
        return bookmark

    def samples(self, stop: Event) -> Iterator[Sample]:
        """Rows from the first to the last, and again if told to repeat."""
        return paced(self._make(), self._settings.rate, stop)

    def _make(self) -> Iterator[Callable[[], Sample]]:
        turns = count(self._turn) if self._settings.repeat else [0]
        places = ((turn, row) for turn in turns for row in range(len(self._rows)))
        return (partial(self._sample, place) for place in self._left(places))

    def _sample(self, place: Place) -> Sample:
        _, row = place
        return Sample(str(row), np.array(self._rows[row]), place=place)
