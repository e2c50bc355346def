"""What a caller asks of the whole server, in one process or in many."""

from collections.abc import Callable, Iterable

from cloud_server.inference.catalogue import Catalogue
from cloud_server.inference.model import Card
from cloud_server.inference.statistics import Statistics
from protos import inference_pb2 as pb


class Alone:
    """A server that is one process."""

    def __init__(self, catalogue: Catalogue, statistics: Statistics) -> None:
        self.catalogue, self._statistics = catalogue, statistics

    def load(self, name: str) -> None:
        """As ``Catalogue.load``, in every process."""
        self.catalogue.load(name)

    def unload(self, name: str) -> None:
        """As ``Catalogue.unload``, in every process."""
        self.catalogue.unload(name)

    def statistics(self, cards: Iterable[Card]) -> list[pb.ModelStatistics]:
        """What these models have done, in all processes together."""
        return [self._statistics.of(card) for card in cards]


Company = Callable[[Catalogue, Statistics], Alone]
"""Whom a server that is starting belongs to."""
