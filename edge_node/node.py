"""A node: from the samples of its source to their results, or from one array to its result."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from edge_node import config
from edge_node.assembly import Assembly
from edge_node.config import EdgeConfig
from edge_node.errors import NodeError, OutdatedError
from edge_node.metrics import Meter
from edge_node.outbox import Outbox
from edge_node.pipeline import Pipeline
from edge_node.publisher import Publisher
from edge_node.sample import Sample
from edge_node.sources import Source
from protos.codec import Tensor
from protos.result import Result

FULL_PAUSE = 0.1
"""Seconds between looks whether a full outbox has room again."""


class EdgeNode:
    """A running node. ``with EdgeNode.open(config) as node: node.infer(array)``."""

    def __init__(
        self, pipeline: Pipeline, source: Source | None, meter: Meter, outbox: Outbox | None = None
    ) -> None:
        self._pipeline, self._source, self._outbox = pipeline, source, outbox
        self.meter = meter
        self.busy_since: float | None = None
        """When work on the present sample of ``run`` began, by ``time.monotonic()``."""

    @classmethod
    @contextmanager
    def open(
        cls, settings: EdgeConfig | str | Path, publisher: Publisher | None = None
    ) -> Iterator["EdgeNode"]:
        """A node from its settings or their file. On leaving, calls in flight end and results are sent.

        Without ``[mqtt]`` results go to ``publisher``, if there is one. ``NodeError``,
        ``SettingsError`` or ``ArtifactError`` says why a node cannot start.
        """
        if not isinstance(settings, EdgeConfig):
            settings = config.load(Path(settings))
        with ExitStack() as stack:
            parts = Assembly(settings, publisher, stack)
            yield cls(parts.pipeline, parts.source, parts.meter, parts.outbox)

    def infer(self, data: Tensor | bytes, name: str = "") -> Result:
        """The result of one sample: an array, or an encoded image. Waits for the cloud where it has to.

        ``NodeError`` while a full outbox takes no new sample (``outbox.policy = "reject"``).
        """
        if self._outbox and self._outbox.full:
            raise NodeError('the outbox is full, and takes no new sample: [outbox] policy = "reject"')
        answers: SimpleQueue[Result] = SimpleQueue()
        self._pipeline.process(Sample(name, data), answers.put, patient=True)
        return answers.get()

    def run(self, stop: Event) -> None:
        """Answer the samples of the source until it ends or ``stop`` is set.

        ``OutdatedError`` once the results sink shows that the outbox is one that was restored.
        """
        if self._source is None:
            raise NodeError("there is nothing to run on: set a section [source]")
        for sample in self._source.samples(stop):
            if self._outbox and self._outbox.outdated:
                raise OutdatedError("the outbox is an old copy of itself: start again, and it begins anew")
            self._await_room(stop)
            self.busy_since = time.monotonic()
            self._pipeline.process(sample, patient=not self._source.live)
            self.busy_since = None
            if stop.is_set():
                return

    def _await_room(self, stop: Event) -> None:
        """Hold the sample back while a full outbox takes no result; a live source drops those behind it."""
        while self._outbox and self._outbox.full and not stop.wait(FULL_PAUSE):
            pass
