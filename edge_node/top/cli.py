"""`edge-node top`: which node, and whether once or until somebody has seen enough."""

import argparse
import time
from pathlib import Path

from rich.console import Console

from edge_node import config
from edge_node.errors import NodeError
from edge_node.top.drawing import THEME
from edge_node.top.live import watch
from edge_node.top.reading import address, fetch
from edge_node.top.view import View

DEFAULT = "http://127.0.0.1:9464/metrics"
_HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # listens there: is asked here


def main(options: argparse.Namespace) -> None:
    """Show it. A terminal that cannot be redrawn, or none, gets one frame."""
    view = from_config(options.config) if options.config else View(address(options.url or DEFAULT))
    console = Console(theme=THEME, highlight=False, markup=False, emoji=False)
    try:
        if options.once or not console.is_terminal or console.is_dumb_terminal:
            once(view, console)
        else:
            watch(view, console)
    except KeyboardInterrupt:
        pass


def once(view: View, console: Console) -> None:
    """One frame without colour."""
    view.history.add(fetch(view.url))
    view.now = time.monotonic()
    plain = Console(
        theme=THEME,
        color_system=None,
        width=console.width,
        height=console.height,
        markup=False,
        highlight=False,
    )
    with plain.capture() as captured:
        plain.print(view)
    print(*(line.rstrip() for line in captured.get().splitlines()), sep="\n")


def from_config(path: Path) -> View:
    """The node of these settings. ``NodeError`` if they do not say where its metrics are."""
    settings = config.load(path)
    host, port = settings.metrics.host, settings.metrics.port
    if not port:
        raise NodeError(
            f"{path}: [metrics] port is 0: the node says at its start where it is; edge-node top HOST:PORT"
        )
    return View(
        address(f"{_bracketed(_HERE.get(host, host))}:{port}"),
        name=f"{settings.node.site}/{settings.node.name}",
        cloud=settings.cloud is not None,
        mqtt=settings.mqtt is not None,
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
