"""`python -m tests.benchmarks.top_screenshot URL NAME FILE.svg`: `edge-node top` of a running node.

It watches for a little more than a minute, so that every figure is of the last one.
"""

import io
import re
import sys
import time
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from edge_node.top.drawing import THEME
from edge_node.top.reading import fetch
from edge_node.top.view import INTERVAL, View

SECONDS = 76.0
SIZE = (80, 24)
DARK = TerminalTheme(
    (14, 17, 22),
    (238, 241, 245),
    [
        (32, 38, 47),
        (255, 138, 128),
        (111, 211, 150),
        (245, 189, 92),
        (102, 127, 255),
        (147, 162, 255),
        (53, 196, 171),
        (197, 203, 211),
    ],
)
"""The dashboard's colours at night."""


def watched(url: str, name: str) -> View:
    """A node after a while."""
    view = View(url, name=name, cloud=True, mqtt=True)
    until = time.monotonic() + SECONDS
    while view.now < until:
        view.history.add(fetch(url))
        view.now = time.monotonic()
        time.sleep(INTERVAL)
    return view


def picture(view: View) -> str:
    """SVG with the fonts of whoever looks at it."""
    console = Console(
        record=True, file=io.StringIO(), force_terminal=True, theme=THEME, width=SIZE[0], height=SIZE[1]
    )
    console.print(view)
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="edge-node top", theme=DARK, code_format=form, unique_id="top")


if __name__ == "__main__":
    url, name, file = sys.argv[1:]
    Path(file).write_text(picture(watched(url, name)))
