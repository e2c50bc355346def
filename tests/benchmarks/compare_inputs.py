"""``python -m tests.benchmarks.compare_inputs DIR [IMAGES LABELS]``: what ``docs/reports/compare-*`` compare.

Writes the demo's edge network in fp32 with the windows of the people it has not seen; with photos, also
EfficientNet-Lite0 and a list of their classes. Needs torch, and for photos the extra ``photos``.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
import torch

from deploy.demo.photos import efficientnet, images
from deploy.demo.wrist import data, train


def main(folder: Path, photos: Path | None = None, labels: Path | None = None) -> None:
    """All files go into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    wrist(folder)
    if photos and labels:
        efficientnet.export(efficientnet.LITE0, folder / "efficientnet-lite0.onnx")
        classes(folder / "photos.csv", photos, labels)


def wrist(folder: Path) -> None:
    """wrist-edge.onnx, trained as the demo's, and wrist.npz."""
    torch.set_num_threads(1)
    people = train.download()
    network = train.edge([it for who, own in people.items() if who not in data.HELD_OUT for it in own])
    torch.onnx.export(
        network,
        (torch.zeros(1, data.WINDOW, 6),),
        folder / "wrist-edge.onnx",
        input_names=["window"],
        output_names=["logits"],
        dynamic_axes={"window": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=efficientnet.OPSET,
        dynamo=False,
    )
    windows, truth = data.windows([it for who in data.HELD_OUT for it in people[who]])
    np.savez(folder / "wrist.npz", samples=windows.astype(np.float32), labels=truth)


def classes(target: Path, folder: Path, labels: Path) -> None:
    """``file,class`` of every photo."""
    photos = sorted(it for it in folder.iterdir() if it.suffix.lower() in images.SUFFIXES)
    known = images.read_labels(labels, photos)
    with target.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "class"))
        rows.writerows((os.path.relpath(it, target.parent), known[it.name]) for it in photos)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
