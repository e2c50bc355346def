"""Samples from a folder of images."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from threading import Event

from edge_node import config
from edge_node.bookmark import OrderedBookmark, Place
from edge_node.errors import SourceError
from edge_node.sample import Sample
from edge_node.sources import paced
from edge_node.sources.parse import read_file

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


class DirectorySource:
    """File after file, by name; a sample is named by its file."""

    def __init__(self, settings: config.DirectorySource) -> None:
        self._settings = settings
        self.live = settings.rate > 0
        try:
            names = sorted(
                os.fsencode(path.name) for path in settings.path.iterdir() if path.suffix.lower() in SUFFIXES
            )
        except OSError as error:
            raise SourceError(settings.path, (error.strerror or str(error)).lower()) from error
        if not names:
            raise SourceError(settings.path, f"holds no image ({', '.join(sorted(SUFFIXES))})")
        self._names = names
        self._left: Callable[[Iterable[Place]], Iterator[Place]] = iter
        self._turn = 0

    def key(self) -> str:
        """As ``Replayable``: files that come later go on with it, if their names come later, too."""
        return f"directory {self._settings.path.resolve()}"

    def resume(self, saved: bytes | None) -> OrderedBookmark:
        """As ``Replayable``."""
        bookmark = OrderedBookmark(saved)
        self._left, self._turn = bookmark.left, bookmark.round
        return bookmark

    def samples(self, stop: Event) -> Iterator[Sample]:
        """Images from the first to the last, and again if told to repeat."""
        return paced(self._make(), self._settings.rate, stop)

    def _make(self) -> Iterator[Callable[[], Sample]]:
        turns = count(self._turn) if self._settings.repeat else [0]
        places = ((turn, name) for turn in turns for name in self._names)
        return (partial(self._sample, place) for place in self._left(places))

    def _sample(self, place: Place) -> Sample:
        name = os.fsdecode(place[1])
        shown = os.fsencode(name).decode(errors="replace")  # a result is UTF-8, a file's name need not be
        return Sample(shown, read_file(self._settings.path / name), place=place)
