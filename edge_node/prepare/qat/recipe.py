"""The recipe of a quantisation-aware training: all that is not code."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from protos.artifact import Name
from protos.settings import Section

Entry = Annotated[str, Meta(pattern=r"^[\w.]+:\w+$")]
"""`module:function`, imported as `python -m` would: the working directory comes first."""
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(gt=0, le=1)]


class Code(Section, frozen=True, kw_only=True):
    """The functions that a recipe trains with."""

    model: Entry
    """`() -> torch.nn.Module`: the trained float model, (batch, ...) -> logits (batch, classes)."""
    batches: Entry
    """`() -> iterable`: the training batches of one epoch; called once an epoch."""
    test: Entry
    """`() -> (inputs, labels)`: arrays of held-out samples (n, ...) and their class indices (n,)."""
    step: Entry | None = None
    """`(model, batch) -> loss`; without it, cross-entropy of batches (inputs, class indices)."""


class Quantization(Section, frozen=True, kw_only=True):
    """How weights and activations are quantised: symmetric int8 and affine uint8."""

    weights: Literal["per_channel", "per_tensor"] = "per_channel"
    """One scale for each output channel, or one for the whole tensor."""
    reduce_range: bool = False
    """7-bit weights, for x86 without VNNI, where sums of uint8 x int8 saturate."""
    ranges: Literal["observed", "learned"] = "observed"
    """Activation ranges follow a moving average of what is seen, or the gradient."""
    momentum: Share = 0.01
    """Weight of a batch in the moving average of observed ranges."""


class Training(Section, frozen=True, kw_only=True):
    """How long, how fast, and what stops moving when."""

    epochs: Annotated[int, Meta(ge=1)] = 6
    learning_rate: Positive = 1e-4
    """Of Adam, falling to zero along a cosine."""
    batch_norm_epochs: Count = 2
    """Epochs after which batch norm uses its running statistics, as the device will."""
    range_epochs: Count = 4
    """Epochs after which activation ranges stand still."""
    seed: int = 0


class Distillation(Section, frozen=True, kw_only=True):
    """A larger model whose logits are imitated beside the labels."""

    teacher: Path
    """An ONNX file, or an artifact directory such as the cloud's."""
    weight: Share = 0.5
    """Share of the imitation in the loss."""
    temperature: Positive = 4.0
    """Of both softmaxes: higher shows more of what the teacher thinks of the other classes."""


class Product(Section, frozen=True, kw_only=True):
    """The artifact to make."""

    out: Path
    labels: Path
    """Text file, a label a line."""
    name: Name
    version: Name = "1"
    threshold: Annotated[float, Meta(ge=0)] = 0.8
    """Confidence from which the gate trusts the edge."""
    temperature: Positive = 1.0
    """Of the gate's softmax."""
    cloud: Path | None = None
    """The cloud's artifact or ONNX file, to hold the server to it."""


class Recipe(Section, frozen=True, kw_only=True):
    """Everything about a training that is not code."""

    code: Code
    artifact: Product
    quantize: Quantization = Quantization()
    train: Training = Training()
    distill: Distillation | None = None
