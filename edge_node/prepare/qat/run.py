"""``edge-node prepare qat``: from a recipe to an artifact."""

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_node.prepare import facts_cli
from edge_node.prepare.data import Samples, checked
from edge_node.prepare.pack import Facts, pack
from edge_node.prepare.qat.convert import Converted, convert, torch_logits
from edge_node.prepare.qat.distill import Imitation, onnx_teacher
from edge_node.prepare.qat.errors import QatError, blaming
from edge_node.prepare.qat.prepared import prepare_qat
from edge_node.prepare.qat.recipe import Code, Distillation, Product, Recipe
from edge_node.prepare.qat.train import Step, cross_entropy, train
from protos.artifact import MANIFEST, Artifact, Gate, Signature, TensorSpec
from protos.codec import DTYPES

CALIBRATION = 8
"""Training batches that activation ranges start from."""
GOLDEN = 256
"""Test samples that golden vectors are chosen among."""


@dataclass(frozen=True)
class Functions:
    """What the entries of a recipe name."""

    model: Callable[[], nn.Module]
    batches: Callable[[], Iterable[Any]]
    test: Callable[[], tuple[Any, Any]]
    step: Step


@dataclass(frozen=True)
class Accuracy:
    """Top-1 of the test samples, as shares."""

    fp32: float
    int8_before_training: float
    int8: float


@dataclass(frozen=True)
class Trained:
    """What a recipe made, and how well it does."""

    artifact: Artifact
    top1: Accuracy
    converted: Converted


def run(recipe: Recipe) -> Trained:
    """Train, convert, prove and pack; writes the artifact whole, or nothing and says why."""
    facts = _facts(recipe.artifact)
    functions = _functions(recipe.code)
    imitation = _imitation(recipe.distill)
    torch.manual_seed(recipe.train.seed)
    model = _model(recipe.code, functions)
    samples = _samples(recipe.code, functions, len(facts.labels))
    fp32 = _fp32(recipe.code, model, samples, len(facts.labels))
    prepared = prepare_qat(model, samples.inputs[:2], recipe.quantize)
    with prepared.calibrating(), blaming(recipe.code.batches):
        for batch in islice(functions.batches(), CALIBRATION):
            functions.step(prepared, batch)
    before = _top1(torch_logits(prepared, samples.inputs), samples)
    train(prepared, functions.batches, functions.step, recipe.train, imitation)
    with tempfile.TemporaryDirectory() as scratch:
        converted = convert(prepared, Path(scratch) / "model.onnx", samples.inputs)
        top1 = Accuracy(fp32, before, _top1(converted.logits, samples))
        packed = pack(
            recipe.artifact.out,
            converted.path,
            facts,
            samples.inputs[:GOLDEN],
            _report(recipe, top1, converted),
        )
    return Trained(packed, top1, converted)


def _functions(code: Code) -> Functions:
    """The functions that a recipe names, imported with the working directory first."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    step = _imported(code.step, "step") if code.step else cross_entropy
    return Functions(
        _imported(code.model, "model"), _imported(code.batches, "batches"), _imported(code.test, "test"), step
    )


def _imported(entry: str, key: str) -> Any:
    name, function = entry.split(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise QatError(
                f"code.{key}: {name} needs module {error.name!r}, which is not installed"
            ) from None
        raise QatError(
            f"code.{key}: there is no module {error.name!r} here or among what is installed"
        ) from None
    except Exception as error:  # whatever the user's module raises
        raise QatError(f"code.{key}: importing {name}: {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise QatError(f"code.{key}: {name} has no function {function!r}")
    return found


def _model(code: Code, functions: Functions) -> nn.Module:
    with blaming(code.model):
        model = functions.model()
    if not isinstance(model, nn.Module):
        raise QatError(f"{code.model} gives {type(model).__name__}, not a torch.nn.Module")
    return model


def _samples(code: Code, functions: Functions, classes: int) -> Samples:
    """The test samples, labelled and finite; ``DataError`` says which is not."""
    with blaming(code.test):
        inputs, labels = (np.asarray(array) for array in functions.test())
    datatype = next((name for name, dtype in DTYPES.items() if dtype == inputs.dtype), None)
    if datatype is None:
        raise QatError(
            f"{code.test} gives inputs of {inputs.dtype}, which no tensor of the protocol can carry"
        )
    given = TensorSpec(name="input", datatype=datatype, shape=(-1, *inputs.shape[1:]))
    logits = TensorSpec(name="logits", datatype="FP32", shape=(-1, classes))
    return checked(Samples(inputs, labels), Signature(input=given, output=logits))


def _fp32(code: Code, model: nn.Module, samples: Samples, labels: int) -> float:
    """Top-1 of the float model; refuses one that has not a logit for each label."""
    with blaming(f"{code.model} on inputs of {code.test}"):
        logits = torch_logits(model, samples.inputs)
    if logits.shape[1:] != (labels,):
        raise QatError(f"artifact.labels: {labels} labels for {logits.shape[-1]} classes")
    return _top1(logits, samples)


def _imitation(distill: Distillation | None) -> Imitation | None:
    if distill is None:
        return None
    return Imitation(onnx_teacher(distill.teacher), distill.weight, distill.temperature)


def _facts(product: Product) -> Facts:
    """What the manifest will say; refuses an ``out`` that packing would, before hours of training."""
    out = product.out
    if out.exists() and not (out / MANIFEST).exists():
        raise QatError(f"artifact.out: {out} exists and is no artifact; choose another or remove it")
    return Facts(
        name=product.name,
        version=product.version,
        precision="int8",
        labels=facts_cli.labels(product.labels),
        gate=Gate(temperature=product.temperature, threshold=product.threshold),
        cloud=facts_cli.cloud_model(product.cloud) if product.cloud else None,
    )


def _top1(logits: NDArray[np.float32], samples: Samples) -> float:
    return float((logits.argmax(1) == samples.labels).mean())


def _report(recipe: Recipe, top1: Accuracy, converted: Converted) -> dict[str, Any]:
    """What ``report.json`` says: the same for the same training."""
    return {
        "method": "qat",
        "samples": converted.samples,
        "top1": msgspec.to_builtins(top1),
        "agreement_with_fake_quantised": converted.agreement,
        "layers": converted.layers,
        "int8_layers": converted.int8_layers,
        "quantize": msgspec.to_builtins(recipe.quantize),
        "train": msgspec.to_builtins(recipe.train),
        "distill": recipe.distill
        and {"weight": recipe.distill.weight, "temperature": recipe.distill.temperature},
    }
