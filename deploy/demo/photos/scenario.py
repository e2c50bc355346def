"""The scenario: three cameras that each replay a third of the photos."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from deploy.demo.photos.build import artifacts
from deploy.demo.photos.images import read_labels, split
from deploy.demo.scenario import Scenario, Stream

CAMERAS = 3
RATE = 5.0
CACHE = Path(".demo") / "cache"


def scenario(
    run_dir: Path, images: Path | None, labels: Path | None, limit: int | None, console: Console
) -> Scenario:
    """Models tuned on a fifth of the photos, and streams of the others; DemoError for what cannot be used."""
    photos = split(images)
    truth = read_labels(labels, [*photos.tuning, *photos.shown]) if labels else None
    pair = artifacts(CACHE, photos.tuning, truth, console.print)
    return Scenario(
        name="photos",
        title="Photos",
        edge=pair.edge,
        cloud=pair.cloud,
        streams=tuple(
            _camera(run_dir / f"camera-{number + 1}", photos.shown[number::CAMERAS][:limit], truth)
            for number in range(CAMERAS)
        ),
        rate=RATE,
        notes=(
            f"{len(photos.tuning)} other photos of the folder chose int8 ranges, temperature and threshold.",
            "A photo travels as the file it is; each side crops, resizes and normalises for its own model.",
            *(() if truth else ("Without labels an answer is right when cloud-only gave the same.",)),
        ),
    )


def _camera(folder: Path, photos: Sequence[Path], truth: Mapping[str, int] | None) -> Stream:
    """A folder of links to its photos."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for photo in photos:
        (folder / photo.name).symlink_to(photo.absolute())
    return Stream(
        name=folder.name,
        source={"kind": "directory", "path": str(folder)},
        samples=len(photos),
        truth=truth and {photo.name: truth[photo.name] for photo in photos},
    )
