"""Model files that mean harm, as small as they can be."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

ENDLESS = 1 << 62


def save(
    path: Path,
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto] = (),
    domains: Sequence[str] = (),
) -> Path:
    """``x`` (1,) float32 -> ``y``, whatever its shape; not checked, as its author would not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(build(nodes, constants, domains), path)
    return path


def build(
    nodes: Sequence[NodeProto], constants: Sequence[TensorProto] = (), domains: Sequence[str] = ()
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    opsets = [helper.make_opsetid(domain, 17 if domain == "" else 1) for domain in ("", *domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def outside(location: str) -> TensorProto:
    """A weight that lies in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    return weight


def reading(path: Path, location: str) -> Path:
    """Adds a weight from the file at ``location``."""
    return save(path, [helper.make_node("Add", ["x", "w"], ["y"])], [outside(location)])


def reading_deep(path: Path, location: str) -> Path:
    """The same inside a constant inside a branch: no list of initializers holds it."""
    constant = helper.make_node("Constant", [], ["w"], value=outside(location))
    output = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    branch = helper.make_graph([constant], "branch", [], [output])
    yes = numpy_helper.from_array(np.array([1], bool), "yes")
    fork = helper.make_node("If", ["yes"], ["w2"], then_branch=branch, else_branch=branch)
    return save(path, [fork, helper.make_node("Add", ["x", "w2"], ["y"])], [yes])


def reading_sparse(path: Path, location: str) -> Path:
    """The same in the values of a sparse constant, which onnxruntime followed longest."""
    indices = numpy_helper.from_array(np.array([0]))
    sparse = SparseTensorProto(values=outside(location), indices=indices, dims=[1])
    constant = helper.make_node("Constant", [], ["w"], sparse_value=sparse)
    return save(path, [constant, helper.make_node("Add", ["x", "w"], ["y"])])


def foreign(path: Path) -> Path:
    """Needs a custom operator."""
    node = helper.make_node("Run", ["x"], ["y"], domain="evil.example")
    return save(path, [node], domains=["evil.example"])


def foreign_in_function(path: Path) -> Path:
    """Needs one in the body of a function of its own."""
    model = build([helper.make_node("Own", ["x"], ["y"], domain="own")], domains=["own"])
    body = [helper.make_node("Run", ["a"], ["b"], domain="evil.example")]
    opsets = [helper.make_opsetid("evil.example", 1)]
    model.functions.append(helper.make_function("own", "Own", ["a"], ["b"], body, opsets))
    onnx.save(model, path)
    return path


def own_function(path: Path) -> Path:
    """Does no harm: a function of the model's own, as exporters write them."""
    model = build([helper.make_node("Own", ["x"], ["y"], domain="own")], domains=["own"])
    body = [helper.make_node("Neg", ["a"], ["b"])]
    model.functions.append(
        helper.make_function("own", "Own", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    )
    onnx.save(model, path)
    return path


def precompiled(path: Path) -> Path:
    """An operator that opens a file by itself."""
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../secret")
    return save(path, [node], domains=["com.microsoft"])


def bomb(path: Path, gigabytes: float = 256) -> Path:
    """A hundred bytes that unfold."""
    shape = numpy_helper.from_array(np.array([int(gigabytes * 2**28)]), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["c"]),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    return save(path, nodes, [shape])


def bomb_at_run(path: Path, gigabytes: int = 256) -> Path:
    """The same, but the size comes from a run: nothing to fold when the file is opened."""
    size = numpy_helper.from_array(np.array([gigabytes << 28]), "size")
    nodes = [
        helper.make_node("Cast", ["x"], ["zero"], to=TensorProto.INT64),
        helper.make_node("Add", ["size", "zero"], ["shape"]),
        helper.make_node("Expand", ["x", "shape"], ["y"]),
    ]
    return save(path, nodes, [size])


def doubling(path: Path, times: int = 40) -> Path:
    """Twice as large with each of its nodes."""
    names = ["x", *(f"x{step}" for step in range(1, times)), "y"]
    nodes = [helper.make_node("Concat", [one, one], [two], axis=0) for one, two in pairwise(names)]
    return save(path, nodes)


def declared(path: Path) -> Path:
    """A weight that says that it has 2⁴⁰ numbers, and has one."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40], raw_data=bytes(4))
    return save(path, [helper.make_node("Add", ["x", "w"], ["y"])], [weight])


def endless(path: Path) -> Path:
    """Counts to 2⁶²."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
    )
    trips = numpy_helper.from_array(np.array(ENDLESS), "trips")
    return save(path, [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)], [trips])


def recursive(path: Path) -> Path:
    """A function that calls itself."""
    model = build([helper.make_node("Own", ["x"], ["y"], domain="own")], domains=["own"])
    body = [helper.make_node("Own", ["a"], ["b"], domain="own")]
    model.functions.append(
        helper.make_function("own", "Own", ["a"], ["b"], body, [helper.make_opsetid("own", 1)])
    )
    onnx.save(model, path)
    return path


def nested(path: Path, depth: int = 400) -> Path:
    """Branches in branches in branches, field by field: ``onnx`` itself would not write it."""
    graph = b""
    for _ in range(depth):
        graph = _field(1, _field(5, _field(6, graph)))  # node, attribute, graph
    path.write_bytes(_field(7, graph))
    return path


def _field(number: int, content: bytes) -> bytes:
    size, left = b"", len(content)
    while left > 0x7F:
        size, left = size + bytes([left & 0x7F | 0x80]), left >> 7
    return bytes([number << 3 | 2]) + size + bytes([left]) + content


def padded(path: Path) -> Path:
    """A number among 2³⁶ zeros."""
    return _sized(path, "Pad", ["x", "size"], [0, 1 << 36])


def tiled(path: Path) -> Path:
    """A number 2³⁶ times."""
    return _sized(path, "Tile", ["x", "size"], [1 << 36])


def ranged(path: Path) -> Path:
    """Counts to 2³⁶ at once."""
    ends = [
        numpy_helper.from_array(np.array(it), name) for name, it in {"a": 0, "b": 1 << 36, "c": 1}.items()
    ]
    nodes = [
        helper.make_node("Range", ["a", "b", "c"], ["all"]),
        helper.make_node("Cast", ["all"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["numbers", "x"], ["y"]),
    ]
    return save(path, nodes, ends)


def drawn(path: Path) -> Path:
    """2³⁶ random numbers."""
    nodes = [
        helper.make_node("RandomNormal", [], ["noise"], shape=[1 << 36]),
        helper.make_node("Add", ["noise", "x"], ["y"]),
    ]
    return save(path, nodes)


def crossed(path: Path) -> Path:
    """Two vectors that are small, and their product, which has 2³⁶ numbers."""
    sizes = {"tall": [1 << 18, 1], "wide": [1, 1 << 18]}
    constants = [numpy_helper.from_array(np.array(it), name) for name, it in sizes.items()]
    nodes = [helper.make_node("Expand", ["x", name], [f"{name} x"]) for name in sizes]
    return save(path, [*nodes, helper.make_node("MatMul", ["tall x", "wide x"], ["y"])], constants)


def growing(path: Path) -> Path:
    """Twice as large with each turn of a loop."""
    numbers = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Concat", ["v", "v"], ["w"], axis=0)],
        "body",
        [numbers("i", TensorProto.INT64, []), numbers("go", TensorProto.BOOL, []), numbers("v", 1, None)],
        [numbers("on", TensorProto.BOOL, []), numbers("w", 1, None)],
    )
    trips = numpy_helper.from_array(np.array(40), "trips")
    return save(path, [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)], [trips])


def sparse(path: Path) -> Path:
    """A weight of 2³⁶ numbers, of which one is written down."""
    model = build([helper.make_node("Add", ["x", "w"], ["y"])])
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "at")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 36]))
    onnx.save(model, path)
    return path


def _sized(path: Path, operator: str, inputs: Sequence[str], size: Sequence[int]) -> Path:
    """The operator on ``x``, by a constant ``size``."""
    constant = numpy_helper.from_array(np.array(size), "size")
    return save(path, [helper.make_node(operator, list(inputs), ["y"])], [constant])


BOMBS = (
    bomb,
    partial(bomb, gigabytes=2),
    bomb_at_run,
    partial(bomb_at_run, gigabytes=2),
    doubling,
    padded,
    tiled,
    ranged,
    drawn,
    crossed,
    growing,
    sparse,
    declared,
)
"""A few hundred bytes each."""
