"""Tell a person at a terminal how far a long step is."""

import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

log = logging.getLogger("edge_node.prepare")

Item = TypeVar("Item")


def counted(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items; a counter on standard error if that is a terminal and the log is shown, else one line."""
    live = sys.stderr.isatty() and log.isEnabledFor(logging.INFO)
    if not live:
        log.info("%s (%d)", what, len(items))
    for number, item in enumerate(items):
        if live:
            sys.stderr.write(f"\r{what} {number + 1}/{len(items)}\x1b[K")
            sys.stderr.flush()
        yield item
    if live:
        sys.stderr.write("\n")
