"""Settings: what a file, the environment and flags may say, and what each mistake is answered with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from protos.settings import Section, SettingsError, load, render


class Cloud(Section, frozen=True, kw_only=True):
    target: str
    deadline: Annotated[float, Meta(gt=0)] = 0.5
    key: Path | None = None


class Model(Section, frozen=True, kw_only=True):
    path: Path


class Settings(Section, frozen=True, kw_only=True):
    cloud: Cloud
    models: tuple[Model, ...] = ()


GOOD = """
[cloud]
target = "cloud:8001"
key = "tls/key.pem"

[[models]]
path = "big"
"""


def read(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    file = folder / "node.toml"
    file.write_text(text)
    return load(file, Settings, environ or {})


def test_defaults_fill_what_the_file_leaves_out(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).cloud.deadline == 0.5


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD)
    assert settings.cloud.key == tmp_path / "tls" / "key.pem"
    assert settings.models[0].path == tmp_path / "big"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD.replace("tls/", "/etc/tls/")).cloud.key == Path("/etc/tls/key.pem")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    environ = {"TIDEGATE_CLOUD__DEADLINE": "2", "TIDEGATE_CLOUD__TARGET": "other:1", "TIDEGATE_MARK": "x"}
    assert read(tmp_path, GOOD, environ).cloud == Cloud(
        target="other:1", deadline=2.0, key=tmp_path / "tls" / "key.pem"
    )


def test_flags_win_over_the_environment() -> None:
    settings = load(None, Settings, {"TIDEGATE_CLOUD__TARGET": "a:1"}, {"cloud.target": "b:2"})
    assert settings.cloud.target == "b:2"


def test_without_a_file_the_environment_is_enough() -> None:
    settings = load(None, Settings, {"TIDEGATE_CLOUD__TARGET": "a:1", "TIDEGATE_CLOUD__KEY": "k.pem"})
    assert settings.cloud == Cloud(target="a:1", key=Path("k.pem"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD.replace("key =", "kye ="), "cloud.kye: unknown key"),
        (GOOD.replace("[cloud]", "[clout]"), "clout: unknown key"),
        ("[[models]]\npath = 'm'", "cloud: required, but not given"),
        (GOOD.replace("path =", "pat ="), "models[0].pat: unknown key"),
        (GOOD.replace('"cloud:8001"', "8001"), "cloud.target: expected `str`, got `int`"),
        (GOOD.replace('"tls/key.pem"', "1"), "cloud.key: expected a path, got `int`"),
        (GOOD.replace("[cloud]", "[cloud]\ndeadline = 0"), "cloud.deadline: expected `float` > 0.0"),
        (GOOD.replace("[cloud]", "[cloud]\ndeadline = nan"), "cloud.deadline: expected `float` > 0.0"),
        ("[cloud\n", "not TOML: Expected ']' at the end of a table declaration (at line 1, column 7)"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'node.toml'}: {problem}"


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"TIDEGATE_CLOUD__DEADLINE": "soon"}, "cloud.deadline: expected `float`, got `str`"),
        ({"TIDEGATE_CLOUD__DEADLIN": "1"}, "cloud.deadlin: unknown key"),
        ({"TIDEGATE_CLOUT__DEADLINE": "1"}, "clout: unknown key"),
        ({"TIDEGATE_MODELS__PATH": "x"}, "models.path: models is no table"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, environ: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, GOOD, environ)
    assert str(caught.value) == f"{next(iter(environ))}: {problem}"


def test_a_mistake_on_the_command_line_says_so() -> None:
    with pytest.raises(SettingsError, match=r"^command line: cloud.target: expected `str`, got `int`$"):
        load(None, Settings, {}, {"cloud.target": 1})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml: no such file or directory$"):
        load(tmp_path / "absent.toml", Settings, {})


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a directory"):
        load(tmp_path, Settings, {})


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"node\.toml: not UTF-8 text"):
        load(tmp_path / "node.toml", Settings, {})


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_an_environment_value_is_never_a_traceback(text: str) -> None:
    problem = "TIDEGATE_CLOUD__TARGET: cloud.target: expected `str`, got"
    try:
        assert isinstance(load(None, Settings, {"TIDEGATE_CLOUD__TARGET": text}).cloud.target, str)
    except SettingsError as error:
        if not str(error).startswith(problem):
            raise


def test_render_shows_every_setting(tmp_path: Path) -> None:
    assert render(read(tmp_path, GOOD)).splitlines() == [
        'cloud.target = "cloud:8001"',
        "cloud.deadline = 0.5",
        f'cloud.key = "{tmp_path}/tls/key.pem"',
        f'models[0].path = "{tmp_path}/big"',
    ]
