"""Models that the settings name and that are not here: misspelt, or still to come."""

from collections.abc import Iterator
from difflib import get_close_matches

from cloud_server.access.rights import ANY
from cloud_server.config import CloudConfig
from cloud_server.inference.catalogue import Catalogue


def absent(config: CloudConfig, catalogue: Catalogue) -> Iterator[str]:
    """A sentence for each setting and name, for people."""
    here = sorted({entry.name for entry in catalogue.index()})
    for setting, name in dict.fromkeys(_named(config)):
        if name not in here:
            close = get_close_matches(name, here, 1)
            hint = f"is {close[0]!r} meant?" if close else "it has no effect until there is one"
            yield f"{setting} names {name!r}, and no such model is here: {hint}"


def _named(config: CloudConfig) -> Iterator[tuple[str, str]]:
    pinned = config.repository.pinned if config.repository else ()
    yield from (("repository.pinned", name) for name in pinned)
    yield from (("batching.sizes", name) for name in config.batching.sizes)
    yield from (("batching.delays", name) for name in config.batching.delays)
    for names in config.access.models.values():
        yield from (("access.models", name) for name in names if name != ANY)
