"""The arguments that all reports take."""

import argparse
from dataclasses import dataclass
from pathlib import Path

REPORTS = Path(__file__).parents[3] / "docs/reports"


@dataclass(frozen=True)
class Options:
    """Where things lie on this machine; none of it is written into a report."""

    cache: Path
    photos: Path | None
    command: str
    """To be shown in the report."""


def options(about: str | None) -> Options:
    """From the command line."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder for models and logits, made where missing"
    )
    parser.add_argument(
        "--photos", type=Path, help="folder of labelled photos with images.csv (ImageId, TrueLabel)"
    )
    chosen = parser.parse_args()
    shown = parser.prog.replace("__main__.py", "")
    command = f"python -m tests.benchmarks.certificate.{Path(shown).stem} --cache DIR"
    return Options(chosen.cache, chosen.photos, command + (" --photos DIR" if chosen.photos else ""))
