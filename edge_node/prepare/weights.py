"""Read and change the constants of a graph by name."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Array = NDArray[Any]


class Graph:
    """A copy of a model whose constants can be changed and whose tensors know who makes and reads them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.nodes = {node.name: node for node in self.model.graph.node}
        self.producers = {name: node for node in self.model.graph.node for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._outputs = {output.name for output in self.model.graph.output}

    def constant(self, name: str) -> Array | None:
        """The value of a constant; none if the graph computes it."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def only_reader(self, name: str) -> NodeProto | None:
        """The one node that reads a tensor; none if several do, or the user."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self._outputs else None

    def set(self, node: NodeProto, index: int, value: Array) -> None:
        """Make a constant of one node's own of its input number ``index``."""
        name = node.input[index] if len(node.input) > index else ""
        if len(self.readers.get(name, [])) != 1 or name not in self._constants:
            name = f"{node.name}/input{index}"
            node.input.extend([""] * (index + 1 - len(node.input)))
            node.input[index] = name
            self.readers[name] = [node]
            self._constants[name] = self.model.graph.initializer.add()
        self._constants[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, or ``default`` if the node does not say."""
    return next((helper.get_attribute_value(it) for it in node.attribute if it.name == name), default)
