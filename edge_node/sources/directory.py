"""Samples from a folder of images."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Event

from edge_node import config
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
            files = sorted(path for path in settings.path.iterdir() if path.suffix.lower() in SUFFIXES)
        except OSError as error:
            raise SourceError(settings.path, (error.strerror or str(error)).lower()) from error
        if not files:
            raise SourceError(settings.path, f"holds no image ({', '.join(sorted(SUFFIXES))})")
        self._files = files

    def samples(self, stop: Event) -> Iterator[Sample]:
        """Images from the first to the last, and again if told to repeat."""
        return paced(self._make(), self._settings.rate, stop)

    def _make(self) -> Iterator[Callable[[], Sample]]:
        while True:
            for path in self._files:
                yield partial(_sample, path)
            if not self._settings.repeat:
                return


def _sample(path: Path) -> Sample:
    name = os.fsencode(path.name).decode(errors="replace")  # a result is UTF-8, a file's name need not be
    return Sample(name, read_file(path))
