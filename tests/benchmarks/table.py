"""Figures as a table for people and as JSON for the next run to compare with."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 110
Row = Mapping[str, str | float]


def show(title: str, rows: Sequence[Row], width: int = WIDTH) -> None:
    """Print rows that share their keys, as Markdown."""
    table = Table(*rows[0], box=box.MARKDOWN, title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(text, row.values()))
    Console(width=width).print(table)


def save(path: Path, figures: Mapping[str, Sequence[Row]]) -> None:
    """Write all figures, and what they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
    print(f"\n{machine()}\nwritten to {path}")


def machine() -> dict[str, str]:
    """Processor, its int8 instructions, and the versions that matter."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in info.splitlines() if "model name" in line), "")
    flags = [flag for flag in ("avx2", "avx512_vnni", "amx_int8", "asimddp") if f" {flag}" in info]
    return {
        "cpu": name or platform.machine(),
        "cores": str(os.cpu_count()),
        "flags": " ".join(flags),
        "python": platform.python_version(),
        **{package: version(package) for package in ("onnxruntime", "grpcio", "paho-mqtt", "numpy")},
    }


def text(value: str | float) -> str:
    """A cell."""
    return value if isinstance(value, str) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
