"""A dashboard, before Grafana's builders have it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from deploy.grafana.panels import Panel


@dataclass(frozen=True, slots=True)
class Board:
    """What is on one dashboard."""

    title: str
    variables: tuple[str, ...]
    """Names of what can be chosen."""
    sections: Callable[[], Mapping[str, Iterable[Panel]]]
    """Panels by row; the first row has no title."""
    several: bool = True
    """Whether more than one value of a variable can be chosen at once."""

    @property
    def slug(self) -> str:
        """Its file, and the end of its uid, by which links find it."""
        return self.title.lower().replace(" ", "-")
