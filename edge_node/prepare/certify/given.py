"""The models and samples that the commands ``certify`` and ``plan`` are given."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.gate.certificate import Binding
from edge_node.prepare.certify.evidence import LEAST, Evidence, checked
from edge_node.prepare.certify.observe import Pair, Prints, observe
from edge_node.prepare.data import Samples, class_indices
from edge_node.prepare.data import checked as fitting
from edge_node.prepare.errors import DataError
from edge_node.prepare.readers import Expected, read
from protos import artifact
from protos.artifact import Artifact, ImageInput


@dataclass(frozen=True)
class Given:
    """What the options name, run through both models."""

    pair: Pair
    evidence: Evidence
    prints: Prints
    """(n,): fingerprints of the payloads."""
    binding: Binding


def take(options: argparse.Namespace) -> Given:
    """Load, read, run; ``DataError`` or ``PrepareError`` says what cannot be used."""
    pair = Pair(artifact.load(options.edge), artifact.load(options.cloud))
    pair.check()
    samples = _samples(pair.edge, options.data, options.labels)
    if len(samples) < LEAST:
        raise DataError(f"too few samples to certify anything: {len(samples)}, give at least {LEAST}")
    groups = _groups(options.groups, len(samples)) if options.groups else None
    evidence, prints = observe(pair, samples, groups)
    return Given(pair, checked(evidence), prints, pair.binding(samples.inputs))


def _samples(edge: Artifact, data: Path, labels: Path | None) -> Samples:
    manifest = edge.manifest
    spec, classes = manifest.signature.input, len(manifest.labels)
    is_image = isinstance(manifest.preprocessing, ImageInput)
    found = read(data, Expected(spec, classes, manifest.labels, encoded=is_image)).samples
    truth = found.labels if labels is None else _labels(labels, manifest.labels)
    if not is_image:
        return fitting(Samples(found.inputs, truth), manifest.signature)
    return Samples(
        found.inputs, None if truth is None else class_indices(np.asarray(truth), len(found), classes)
    )


def _labels(path: Path, names: tuple[str, ...]) -> NDArray[Any]:
    """Indices, from indices or names."""
    if path.suffix == ".npy":
        try:
            return np.asarray(np.load(path))
        except ValueError as error:
            raise DataError(f"{path} is no readable .npy file: {error}") from error
    lines = _lines(path)
    if all(line.isdigit() for line in lines):
        return np.array([int(line) for line in lines])
    index = {name: number for number, name in enumerate(names)}
    if unknown := [line for line in lines if line not in index]:
        raise DataError(f"{path}: {unknown[0]!r} is no class of the edge artifact")
    return np.array([index[line] for line in lines])


def _groups(path: Path, count: int) -> NDArray[np.int64]:
    lines = _lines(path)
    if len(lines) != count:
        raise DataError(f"{path} names the groups of {len(lines)} samples, there are {count}")
    return np.unique(np.array(lines), return_inverse=True)[1].astype(np.int64)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {error}") from error
