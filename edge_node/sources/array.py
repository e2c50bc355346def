"""Samples from a ``.npy`` file, without reading it into memory."""

from collections.abc import Callable, Iterator
from functools import partial
from threading import Event

import numpy as np

from edge_node import config
from edge_node.errors import SourceError
from edge_node.sample import Sample
from edge_node.sources import paced
from protos.codec import Tensor


class ArraySource:
    """Row after row of an array (n, ...); a sample is named by its row."""

    def __init__(self, settings: config.ArraySource) -> None:
        self._settings = settings
        self.live = settings.rate > 0
        try:
            self._rows: Tensor = np.lib.format.open_memmap(settings.path, mode="r")
        except FileNotFoundError:
            raise SourceError(settings.path, "no such file") from None
        except (OSError, ValueError) as error:
            raise SourceError(settings.path, f"not a .npy file of numbers: {error}") from error
        if self._rows.ndim < 1 or not len(self._rows):
            raise SourceError(settings.path, "holds no samples")

    def samples(self, stop: Event) -> Iterator[Sample]:
        """Rows from the first to the last, and again if told to repeat."""
        return paced(self._make(), self._settings.rate, stop)

    def _make(self) -> Iterator[Callable[[], Sample]]:
        while True:
            for index in range(len(self._rows)):
                yield partial(self._sample, index)
            if not self._settings.repeat:
                return

    def _sample(self, index: int) -> Sample:
        return Sample(str(index), np.array(self._rows[index]))
