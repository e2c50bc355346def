"""What a model file declares of its tensors, in the words of the protocol."""

from typing import Any

from protos.artifact import TensorSpec
from protos.codec import CodecError

_DATATYPES = {
    "tensor(bool)": "BOOL",
    **{f"tensor(int{bits})": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": f"UINT{bits}" for bits in (8, 16, 32, 64)},
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""onnxruntime's name of a type -> datatype. What is no tensor at all is missing."""


def spec(node: Any) -> TensorSpec:
    """An input or output of an onnxruntime session; ``CodecError`` if the protocol cannot carry it."""
    if node.type not in _DATATYPES:
        raise CodecError(f"{node.name!r} is {node.type}, which the protocol cannot carry")
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorSpec(name=node.name, datatype=_DATATYPES[node.type], shape=shape)
