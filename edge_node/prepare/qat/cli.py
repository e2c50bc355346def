"""The command ``edge-node prepare qat``; loads torch only when it is used."""

import argparse
from pathlib import Path
from typing import Any

from edge_node.prepare.errors import PrepareError


def add(commands: Any) -> None:
    """Add the command to ``edge-node prepare``."""
    command = commands.add_parser("qat", help="train a PyTorch model for int8 and make an artifact of it")
    command.set_defaults(command=_qat)
    command.add_argument("recipe", type=Path, metavar="recipe.toml")


def _qat(options: argparse.Namespace) -> str:
    from edge_node.prepare.qat.recipe import Recipe
    from protos import settings

    recipe = settings.load(options.recipe, Recipe, {})
    try:
        from edge_node.prepare.qat.run import run
    except ModuleNotFoundError as error:
        raise PrepareError(f"{error.name} is not installed: pip install 'tidegate[qat]'") from error
    made = run(recipe)
    top1, converted = made.top1, made.converted
    return (
        f"top-1 of {converted.samples} test samples: fp32 {top1.fp32:.2%}, "
        f"int8 before training {top1.int8_before_training:.2%}, after {top1.int8:.2%}\n"
        f"onnxruntime agrees with the trained model on {converted.agreement:.2%}, "
        f"{converted.int8_layers} of {converted.layers} layers run in int8\n"
        f"{made.artifact.directory}: int8"
    )
