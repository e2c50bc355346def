"""The command ``edge-node prepare qat``; loads torch only when it is used."""

import argparse
from pathlib import Path
from typing import Any

from edge_node.prepare.errors import PrepareError

EXAMPLE = """\
[code]                                  # module:function, the working directory comes first
model = "training:model"                # () -> the trained float torch.nn.Module
batches = "training:batches"            # () -> the training batches of one epoch
test = "training:test"                  # () -> (inputs, class indices) of held-out samples
step = "training:step"                  # (model, batch) -> loss; without it: cross-entropy

[train]                                 # all of this section may be left out
epochs = 6
learning_rate = 1e-4
batch_norm_epochs = 2                   # then batch norm stands still
range_epochs = 4                        # then the ranges of activations do

[quantize]                              # this one too
weights = "per_channel"                 # or "per_tensor"
ranges = "observed"                     # or "learned"
reduce_range = false                    # true for x86 without VNNI

[distill]                               # and this one: then no teacher is imitated
teacher = "cloud"                       # artifact or ONNX file of the cloud's model
weight = 0.5
temperature = 4.0

[artifact]
out = "edge"
labels = "labels.txt"
name = "my-model"
"""


def add(commands: Any) -> None:
    """Add the command to ``edge-node prepare``."""
    command = commands.add_parser(
        "qat",
        help="train a PyTorch model for int8 and make an artifact of it",
        description="Trains a float model on with fake quantisation, exports what onnxruntime runs in int8, "
        "proves it on the test samples, and packs it.",
        epilog=f"a recipe, its paths relative to its folder:\n\n{EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
