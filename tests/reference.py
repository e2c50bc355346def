"""The README's tables, made from the code they describe: ``make docs`` writes them, a test compares.

A table stands between ``<!-- name -->`` and ``<!-- /name -->``.
"""

import ast
import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from prometheus_client.metrics import MetricWrapperBase

import cloud_server.config
import cloud_server.metrics
import edge_node.config
import edge_node.metrics
from protos.result import Reason

README = Path(__file__).parents[1] / "README.md"


def render(text: str) -> str:
    """The text with every table made anew."""
    for name, make in TABLES.items():
        head, begin, rest = text.partition(f"<!-- {name} -->")
        _old, end, tail = rest.partition(f"<!-- /{name} -->")
        if not end:
            raise SystemExit(f"README.md has no place for the table {name!r}")
        text = f"{head}{begin}\n\n{make()}\n\n{end}{tail}"
    return text


def _table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _settings(config: type[msgspec.Struct]) -> str:
    return _table(("setting", "default", "meaning"), _rows(config, ""))


def _rows(struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, ...]]:
    meanings = _docs(struct)
    for field in msgspec.structs.fields(struct):
        sections = _structs(field.type)
        for section in sections:
            tag = section.__struct_config__.tag
            if tag is not None:
                yield f'`{prefix}{field.name}.kind = "{tag}"`', "", inspect.getdoc(section) or ""
            yield from _rows(section, f"{prefix}{field.name}.")
        if not sections:
            yield f"`{prefix}{field.name}`", _default(field), meanings[field.name]


def _structs(kind: object) -> list[type[msgspec.Struct]]:
    """The tables among the alternatives of a type, those in a tuple included."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType, tuple, typing.Annotated):
        return [struct for part in typing.get_args(kind) for struct in _structs(part)]
    return []


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default is None:
        return "none"
    made = field.default_factory is not msgspec.NODEFAULT
    default = field.default_factory() if made else field.default
    return f"`{msgspec.json.encode(default, enc_hook=str).decode()}`"


def _docs(cls: type) -> dict[str, str]:
    """Attribute -> the string under it, on one line: Python itself does not keep it."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for attribute, after in zip(body.body, body.body[1:], strict=False):
        match attribute, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = " ".join(text.split())
    return docs


def _metrics(meter: object) -> str:
    return _table(("metric", "type", "labels", "meaning"), map(_metric, _wrappers(meter)))


def _wrappers(meter: object) -> Iterator[MetricWrapperBase]:
    """The metrics of a table; what is bound to label values is a part of one of them."""
    attributes = vars(meter).values()
    return (it for it in attributes if isinstance(it, MetricWrapperBase) and not it._labelvalues)


def _metric(metric: MetricWrapperBase) -> tuple[str, ...]:
    kind = str(metric._type)
    suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"`{metric._name}{suffix}`", kind, labels, str(metric._documentation)


def _reasons() -> str:
    docs = _docs(Reason)
    return _table(("reason", "meaning"), ((f"`{reason}`", docs[reason.name]) for reason in Reason))


TABLES: dict[str, Callable[[], str]] = {
    "edge settings": lambda: _settings(edge_node.config.EdgeConfig),
    "cloud settings": lambda: _settings(cloud_server.config.CloudConfig),
    "reasons": _reasons,
    "edge metrics": lambda: _metrics(edge_node.metrics.Meter()),
    "cloud metrics": lambda: _metrics(cloud_server.metrics.Meter()),
}

if __name__ == "__main__":
    README.write_text(render(README.read_text()))
