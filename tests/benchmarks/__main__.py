"""``make bench``: every benchmark, as tables on the screen and as ``.demo/bench.json``."""

from pathlib import Path

import numpy as np

from protos.codec import Tensor
from tests.benchmarks import footprint, gate, observing, outbox, pipeline, sink, table

ROOT = Path(__file__).parents[2]
WRIST = ROOT / "deploy/demo/wrist/edge"
CACHE = ROOT / ".demo/cache"


def main() -> None:
    """Measure, print, save."""
    figures = {
        **gate.measure(),
        **pipeline.measure(_artifacts()),
        **outbox.measure(*_artifacts()["wrist"]),
        **observing.measure(WRIST),
        **sink.measure(),
        **footprint.measure(WRIST),
    }
    for title, rows in figures.items():
        table.show(title, rows)
    table.save(ROOT / ".demo/bench.json", figures)


def _artifacts() -> dict[str, tuple[Path, Tensor | bytes]]:
    """The demo's models: the photo model where `make demo SCENARIO=photos` has built it."""
    found: dict[str, tuple[Path, Tensor | bytes]] = {"wrist": (WRIST, np.zeros((128, 6), np.float16))}
    for photo in sorted(CACHE.glob("photos-*/edge"))[:1]:
        found["photo"] = (photo, np.zeros((480, 640, 3), np.uint8))
    if len(found) == 1:
        print("no photo model yet: `make demo SCENARIO=photos IMAGES=dir` builds it")
    return found


if __name__ == "__main__":
    main()
