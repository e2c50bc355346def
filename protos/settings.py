"""Settings of both sides: a TOML file, overridden by the environment, into frozen typed sections.

``TIDEGATE_SECTION__KEY=value`` in the environment overrides ``key`` of ``[section]``. The value is
read as TOML, and as plain text where it is none: ``0.5``, ``true``, ``["a", "b"]``, ``node-7``.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

PREFIX = "TIDEGATE_"
T = TypeVar("T")

_LOCATED = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<at>.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<kind>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_FIELD_PROBLEMS = {"contains unknown": "unknown key", "missing required": "required, but not given"}


class SettingsError(Exception):
    """Settings that cannot be used: one line that names the file (or variable), the key and the mistake."""

    def __init__(self, source: str, problem: str, key: str = "") -> None:
        super().__init__(": ".join(part for part in (source, key, problem) if part))
        self.source = source
        self.key = key
        self.problem = problem


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of settings: immutable, and a misspelt key is an error."""


def load(
    path: Path | None, schema: type[T], environ: Mapping[str, str], flags: Mapping[str, object] | None = None
) -> T:
    """Settings as ``schema`` from a file, then ``environ``, then command-line ``flags`` (by ``section.key``).

    A relative ``Path`` is relative to the file's folder, without a file to the working directory.
    """
    tables = _read(path) if path else {}
    origins = {}
    for origin, key, value in (*_from_environment(environ), *_from_flags(flags or {})):
        _put(tables, key, value, origin)
        origins[key] = origin
    try:
        return msgspec.convert(tables, schema, dec_hook=partial(_decode, path.parent if path else Path()))
    except msgspec.ValidationError as error:
        key, problem = _explain(str(error))
        raise SettingsError(_origin(key, origins) or str(path or "settings"), problem, key) from None


def render(settings: msgspec.Struct) -> str:
    """Every setting as ``section.key = value``, a line each."""
    return "\n".join(f"{key} = {value}" for key, value in _flatten(settings))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingsError(str(path), (error.strerror or str(error)).lower()) from None
    except UnicodeDecodeError:
        raise SettingsError(str(path), "not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(path), f"not TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and "__" in variable:
            yield variable, variable.removeprefix(PREFIX).lower().replace("__", "."), _parse(text)


def _from_flags(flags: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    return (("command line", key, value) for key, value in flags.items())


def _parse(text: str) -> object:
    try:
        match tomllib.loads(f"value = {text}"):
            case {"value": value, **more} if not more:
                return value
    except tomllib.TOMLDecodeError:
        pass
    return text


def _put(tables: dict[str, Any], key: str, value: object, origin: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        tables = tables.setdefault(section, {})
        if not isinstance(tables, dict):
            raise SettingsError(origin, f"{section} is no table", key)
    tables[name] = value


def _decode(folder: Path, wanted: type, value: object) -> object:
    """The one thing in settings that msgspec does not know: a path."""
    if not issubclass(wanted, Path):
        raise TypeError(f"settings of type {wanted} cannot be read")
    if not isinstance(value, str):
        raise TypeError(f"Expected a path, got `{value.__class__.__name__}`")
    return folder / Path(value).expanduser()


def _explain(message: str) -> tuple[str, str]:
    """(key, problem) of a message of msgspec."""
    located = _LOCATED.fullmatch(message)
    if located is None:
        return "", message
    at, problem = located["at"] or "", located["problem"]
    if field := _FIELD.fullmatch(problem):
        return ".".join(filter(None, (at, field["name"]))), _FIELD_PROBLEMS[field["kind"]]
    return at, problem[0].lower() + problem[1:]


def _origin(key: str, origins: Mapping[str, str]) -> str | None:
    """Who set the key, something inside it, or what it is inside of, other than the file."""

    def related(of: str) -> bool:
        return of == key or of.startswith((f"{key}.", f"{key}[")) or key.startswith((f"{of}.", f"{of}["))

    return next((origin for of, origin in origins.items() if related(of)), None)


def _flatten(settings: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in msgspec.structs.asdict(settings).items():
        yield from _lines(prefix + name, value)


def _lines(key: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, msgspec.Struct):
        yield from _flatten(value, f"{key}.")
    elif isinstance(value, tuple) and any(isinstance(item, msgspec.Struct) for item in value):
        for index, item in enumerate(value):
            yield from _lines(f"{key}[{index}]", item)
    elif value is not None:
        yield key, msgspec.json.encode(value, enc_hook=str).decode()
