"""From a folder or file to a model that has shown that it runs."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cloud_server.config import CloudConfig
from cloud_server.errors import ModelError
from cloud_server.inference import versions
from cloud_server.inference.catalogue import Catalogue
from cloud_server.inference.model import Card, Model, show
from cloud_server.inference.repository import Repository
from cloud_server.inference.sandbox import try_out
from cloud_server.inference.scanning import scan
from cloud_server.inference.session import divides, open_session, require, signature
from protos import artifact, image
from protos.artifact import Artifact, ImageInput, TensorSpec
from protos.codec import DTYPES

log = logging.getLogger(__name__)

_MEMORY = "alloc", " bytes"
"""What onnxruntime says where a run takes more than there is, or than it would ever give."""


def load(settings: CloudConfig) -> Catalogue:
    """Every model, warm; ``ModelError`` if one of ``[[models]]``, or all of ``[repository]``, cannot be."""
    require(settings.execution.providers)
    open_one = partial(open_model, settings=settings)
    sources: dict[str, Path] = {}
    models = []
    for path in (model.path for model in settings.models):
        model = open_one(path)
        if model.card.name in sources:
            raise ModelError(path, f"has the same name as {sources[model.card.name]}: {model.card.name!r}")
        sources[model.card.name] = path
        models.append(model)
    catalogue = Catalogue(Repository(models), settings.repository, open_one)
    if settings.repository:
        versions.find(settings.repository.path)
        catalogue.look()
        if not any(catalogue.repository):
            raise ModelError(settings.repository.path, "has no model that can be served, as said above")
    return catalogue


def open_model(path: Path, name: str = "", version: str = "", *, settings: CloudConfig) -> Model:
    """A model, warm, that has first shown in a sandbox that it does no harm; else ``ModelError``."""
    tried = try_out(path, settings.loading)
    card, session = load_model(path, settings.execution.providers)
    if card.sha256 != tried:
        raise ModelError(path, "changed while it was being loaded")
    card = replace(card, name=name or card.name, version=version or card.version)
    most, delay = settings.batching.most(card.name), settings.batching.delay(card.name)
    return Model(card, session, most, delay, longest=settings.loading.deadline)


def load_model(path: Path, providers: Sequence[str] = ("cpu",)) -> tuple[Card, Any]:
    """Card and session of an artifact's folder, or of any ONNX file. In a sandbox first."""
    if path.is_dir() and not (path / artifact.MANIFEST).exists():
        raise ModelError(
            path,
            f"has no {artifact.MANIFEST}, so it is no artifact: name the ONNX file in it, or give a folder "
            "of models as [repository] path",
        )
    if path.is_dir():
        return _from_artifact(artifact.load(path), providers)
    if path.is_file():
        return _from_file(path, providers)
    raise ModelError(path, "is neither a file nor a folder" if path.exists() else "no such file or folder")


def _from_file(path: Path, providers: Sequence[str]) -> tuple[Card, Any]:
    scan(path)
    session = open_session(path, providers)
    inputs, outputs = signature(path, session)
    _run_on_zeros(path, session, inputs)
    card = Card(
        name=path.stem,
        version="1",
        precision="unknown",
        sha256=artifact.digest(path),
        inputs=inputs,
        outputs=outputs,
        batches=divides(session, inputs, outputs),
    )
    return card, session


def _run_on_zeros(path: Path, session: Any, inputs: tuple[TensorSpec, ...]) -> None:
    """Warm up, so far as that can be done without knowing what the model wants."""
    shapes = {spec: tuple(max(size, 1) for size in spec.shape) for spec in inputs}
    try:
        session.run(None, {it.name: np.zeros(shape, DTYPES[it.datatype]) for it, shape in shapes.items()})
    except Exception as error:  # onnxruntime's errors have no base of their own
        if any(word in str(error) for word in _MEMORY):
            raise ModelError(path, "takes more memory to run once than it may ([loading] memory)") from error
        log.warning("model %s is not warm, zeros were not to its taste: %s", path, error)


def _from_artifact(source: Artifact, providers: Sequence[str]) -> tuple[Card, Any]:
    manifest = source.manifest
    images = manifest.preprocessing if isinstance(manifest.preprocessing, ImageInput) else None
    if images:
        image.require_pillow()
    scan(source.model, frozenset(manifest.files))
    session = open_session(source.model, providers)
    _compare_signatures(source, session)
    _replay(source, session)
    inputs, outputs = (manifest.signature.input,), (manifest.signature.output,)
    card = Card(
        name=manifest.name,
        version=manifest.version,
        precision=manifest.precision,
        sha256=source.sha256,
        inputs=inputs,
        outputs=outputs,
        images=images,
        labels=manifest.labels,
        preprocessing=artifact.preprocessing_id(manifest),
        batches=divides(session, inputs, outputs),
    )
    return card, session


def _compare_signatures(source: Artifact, session: Any) -> None:
    """Output shapes are left to the golden vector: how far they can be inferred depends on onnxruntime."""
    inputs, outputs = signature(source.model, session)
    stated = source.manifest.signature
    if inputs != (stated.input,):
        raise ModelError(
            source.directory, f"the manifest's input is {show(stated.input)}, the ONNX file's {show(*inputs)}"
        )
    if (stated.output.name, stated.output.datatype) not in {(it.name, it.datatype) for it in outputs}:
        raise ModelError(
            source.directory,
            f"the manifest's output is {show(stated.output)}, the ONNX file's {show(*outputs)}",
        )


def _replay(source: Artifact, session: Any) -> None:
    """Warm up on a golden vector: a model that answers otherwise here than where it was made is refused."""
    signature, (inputs, logits) = source.manifest.signature, source.vectors
    try:
        found = session.run([signature.output.name], {signature.input.name: inputs[:1]})[0]
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise ModelError(source.directory, f"does not run on its golden vector: {error}") from error
    if found.shape != logits[:1].shape:
        raise ModelError(
            source.directory, f"answers {found.shape} to its golden vector, not {logits[:1].shape}"
        )
    difference = np.abs(found - logits[:1]).max()
    if not difference <= source.manifest.tolerance:  # NaN is no small difference
        raise ModelError(
            source.directory,
            f"does not reproduce its golden vector: logits are off by {difference:.2g}, "
            f"tolerance is {source.manifest.tolerance:.2g}",
        )
