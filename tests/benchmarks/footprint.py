"""What the edge costs a device before it has answered anything: disk, start, memory."""

import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.table import Row

ROOT = Path(__file__).parents[2]
ROUNDS = 7
_IMPORTS = "import edge_node.node, edge_node.cli, edge_node.sources.mqtt, onnxruntime"


def measure(artifact: Path) -> dict[str, list[Row]]:
    """All three, each with what dominates it."""
    return {
        "installed size of the edge extra": sizes(),
        "time to import what `edge-node run` needs": imports(),
        "memory of an idle node": memory(artifact),
    }


def sizes() -> list[Row]:
    """Megabytes in a fresh virtual environment without pip: the largest packages, and the sum."""
    with TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        site = next(Path(folder).glob("lib/python*/site-packages"))
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--target", site, "--constraint",
             ROOT / "constraints.txt", f"{ROOT}[edge]"],
            check=True,
        )  # fmt: skip
        folders = {path.name: _megabytes(path) for path in site.iterdir()}
    largest = sorted(folders.items(), key=lambda it: -it[1])[:5]
    return [{"package": name, "MB": size} for name, size in [*largest, ("all", sum(folders.values()))]]


def imports() -> list[Row]:
    """Median seconds of a fresh interpreter that imports, beside one that does not."""
    rounds = [
        (_seconds(_IMPORTS), _seconds("import onnxruntime, numpy"), _seconds("pass")) for _ in range(ROUNDS)
    ]
    names = ("edge-node run", "of which onnxruntime and numpy", "of which Python itself")
    return [
        {"import": name, "s": statistics.median(it)}
        for name, it in zip(names, zip(*rounds, strict=True), strict=True)
    ]


def memory(artifact: Path) -> list[Row]:
    """Megabytes of a node that waits for its first sample: proportional set size and resident set size."""
    with TemporaryDirectory() as folder:
        config = Path(folder) / "node.toml"
        config.write_text(
            f'[node]\nsite = "bench"\nname = "idle"\n[model]\npath = "{artifact.resolve()}"\n'
            '[source]\nkind = "stdin"\n[metrics]\nport = 0\n'
            '[cloud]\ntarget = "127.0.0.1:1"\n[mqtt]\nhost = "127.0.0.1"\nport = 1\n'
        )
        node = subprocess.Popen(
            [sys.executable, "-m", "edge_node.cli", "run", "--config", config],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with node:
            assert node.stdin
            assert node.stderr
            for line in node.stderr:
                if "is running" in line:
                    break
            time.sleep(1)
            figures = smaps(node.pid)
            node.stdin.close()
            node.stderr.read()
    return [{"memory": name, "MB": figures[name]} for name in ("Pss", "Rss")]


def _megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def _seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    return time.perf_counter() - start


def smaps(pid: int) -> dict[str, float]:
    """Megabytes of a process, by the kernel's names."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(kilobytes) / 1e3 for name, kilobytes, *_ in map(str.split, lines)}
