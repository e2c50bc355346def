"""Who may import whom, as drawn in the architecture: read from the source, and from what a process loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protos.artifact import Artifact
from tests.nodes import write_config

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("protos", "edge_node", "cloud_server")
    for path in sorted((ROOT / package).rglob("*.py"))
}
RUNTIME = [
    name for name in MODULES if name.startswith("edge_node") and not name.startswith("edge_node.prepare")
]
INFERENCE = [name for name in MODULES if name.startswith("cloud_server.inference")]
CALLS = [name for name in MODULES if name.startswith("cloud_server.calls")]
HEAVY = ("onnx", "torch", "cv2", "PIL", "scipy", "pandas", "matplotlib")


def walk(node: ast.AST, *, into_functions: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if into_functions or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from walk(child, into_functions=into_functions)


def imports(module: str, *, into_functions: bool = True) -> Iterator[str]:
    """What a module imports: everywhere, or only where importing it does."""
    for node in walk(ast.parse(MODULES[module].read_text()), into_functions=into_functions):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(name: str, packages: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def forbidden(module: str) -> tuple[str, ...]:
    """What a module must not know of."""
    above = ("deploy", "tests")
    if is_in(module, ("protos",)):
        return ("edge_node", "cloud_server", *above)
    if is_in(module, ("cloud_server",)):
        return ("edge_node", *above)
    if is_in(module, ("edge_node.prepare",)):
        return ("cloud_server", *above)
    return ("cloud_server", "edge_node.prepare", *above)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_knows_only_what_is_below_it(module: str) -> None:
    """Except that ``edge-node prepare`` has to reach its tools."""
    known = {name for name in imports(module) if is_in(name, forbidden(module))}
    assert known == ({"edge_node.prepare.cli.main"} if module == "edge_node.cli" else set())


def test_the_command_reaches_for_workstation_tools_only_when_asked_to() -> None:
    at_once = list(imports("edge_node.cli", into_functions=False))
    assert at_once
    assert not any(is_in(name, ("edge_node.prepare",)) for name in at_once)


def loaded(script: str, *arguments: str | Path) -> set[str]:
    """The packages and modules that a process has loaded after a script."""
    code = f"{script}\nimport sys; print(*sys.modules, sep='\\n')"
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(ended.stdout.splitlines())


def test_the_edge_runtime_loads_nothing_heavy() -> None:
    modules = loaded("import " + ", ".join(RUNTIME))
    assert set(RUNTIME) <= modules
    assert not {name for name in modules if is_in(name, (*HEAVY, "cloud_server", "edge_node.prepare"))}


def test_a_node_that_answers_has_loaded_nothing_heavy(tmp_path: Path, artifact: Artifact) -> None:
    script = """
import sys, numpy
from edge_node.node import EdgeNode
with EdgeNode.open(sys.argv[1]) as node:
    node.infer(numpy.zeros(3, numpy.float32))
"""
    modules = loaded(script, write_config(tmp_path, artifact))
    assert "onnxruntime" in modules
    assert not {name for name in modules if is_in(name, (*HEAVY, "cloud_server", "edge_node.prepare"))}


@pytest.mark.parametrize("module", INFERENCE)
def test_inference_does_not_know_how_it_is_called(module: str) -> None:
    skins = "cloud_server.calls", "cloud_server.rest", "cloud_server.workers"
    assert not [name for name in imports(module) if is_in(name, skins)]


def test_inference_loads_neither_mqtt_nor_a_database() -> None:
    modules = loaded("import " + ", ".join(INFERENCE + CALLS))
    assert {*INFERENCE, *CALLS} <= modules
    assert not {name for name in modules if is_in(name, (*HEAVY, "paho", "sqlalchemy", "edge_node"))}


def test_the_contract_loads_neither_side() -> None:
    modules = loaded(
        "import protos.ack, protos.codec, protos.artifact, protos.result, protos.settings, protos.image"
    )
    assert not {
        name for name in modules if is_in(name, (*HEAVY, "edge_node", "cloud_server", "grpc", "paho"))
    }
