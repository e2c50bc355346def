"""Certify the demo's pair: ``python -m deploy.demo.wrist.certify``, after ``deploy.demo.wrist.train``.

On the first half of each recording of the three held-out people, as one would after a first week with
the people who are to wear it; the demo shows the second halves. Whole recordings go to TUNE or to CERT.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from deploy.demo.wrist.data import HELD_OUT, halves, held_out, windows
from edge_node.prepare.cli import main as prepare

HERE = Path(__file__).parent
EPSILON = 0.03
LOOKS = 3
"""These samples were looked at thrice while the demo was built: each look may be wrong in a third of 5 %."""


def main() -> None:
    """The edge artifact gets its certificate and the gate that goes with it."""
    with TemporaryDirectory() as folder:
        given = Path(folder)
        _write(given)
        arguments = ["--epsilon", str(EPSILON), "--delta", f"{0.05 / LOOKS:.4f}", "-o", str(HERE / "edge")]
        files = ["--labels", str(given / "y.txt"), "--groups", str(given / "groups.txt")]
        prepare(
            ["certify", str(HERE / "edge"), str(HERE / "cloud"), str(given / "x.npy"), *files, *arguments]
        )


def _write(folder: Path) -> None:
    """Samples, labels and the recording of each, as ``prepare certify`` takes them."""
    cut = [
        (f"{subject}-{number}", *windows([first]))
        for subject in HELD_OUT
        for number, first in enumerate(halves(held_out(subject))[0])
    ]
    np.save(folder / "x.npy", np.concatenate([samples for _, samples, _ in cut]))
    _write_lines(folder / "y.txt", [str(label) for *_, labels in cut for label in labels])
    _write_lines(folder / "groups.txt", [name for name, _, labels in cut for _ in labels])


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
