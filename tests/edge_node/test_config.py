"""Settings of a node: what may be left out, and the one line for each mistake."""

from pathlib import Path

import pytest

from edge_node import config
from edge_node.config import EdgeConfig
from protos.settings import SettingsError

MINIMAL = '[node]\nsite = "lab"\nname = "a"\n[model]\npath = "edge"\n'
CLOUD = MINIMAL + '[cloud]\ntarget = "cloud:8001"\n'
MQTT = MINIMAL + '[mqtt]\nhost = "broker"\n'


def read(folder: Path, text: str) -> EdgeConfig:
    (folder / "node.toml").write_text(text)
    return config.load(folder / "node.toml")


def test_a_name_and_a_model_are_enough(tmp_path: Path) -> None:
    settings = read(tmp_path, MINIMAL)
    assert settings.model.path == tmp_path / "edge"
    assert (settings.cloud, settings.mqtt, settings.source) == (None, None, None)
    assert settings.gate.policy == "threshold"


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ('kind = "array"\npath = "x.npy"', config.ArraySource),
        ('kind = "directory"\npath = "x"', config.DirectorySource),
        ('kind = "stdin"', config.StdinSource),
        ('kind = "mqtt"\ntopic = "t"', config.MqttSource),
    ],
)
def test_the_kind_of_a_source_chooses_its_settings(tmp_path: Path, section: str, kind: type) -> None:
    assert isinstance(read(tmp_path, f"{MINIMAL}[source]\n{section}").source, kind)


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_NODE__NAME", "b")
    monkeypatch.setenv("TIDEGATE_CLOUD__TARGET", "elsewhere:1")
    settings = read(tmp_path, MINIMAL)
    assert settings.node.name == "b"
    assert settings.cloud == config.Cloud(target="elsewhere:1")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "node: required, but not given"),
        (MINIMAL.replace("path", "paht"), "model.paht: unknown key"),
        (MINIMAL.replace('"edge"', "1"), "model.path: expected a path, got `int`"),
        (MINIMAL.replace('"a"', '"a/b"'), "node.name: expected `str` matching regex"),
        (MINIMAL.replace('"a"', '"+"'), "node.name: expected `str` matching regex"),
        (MINIMAL + '[gate]\nthreshold = "high"', "gate.threshold: expected `float | null`, got `str`"),
        (MINIMAL + '[gate]\npolicy = "sometimes"', "gate.policy: invalid enum value 'sometimes'"),
        (MINIMAL + '[source]\nkind = "camera"', "source.kind: invalid value 'camera'"),
        (MINIMAL + '[source]\npath = "x"', "source.kind: required, but not given"),
        (MINIMAL + '[source]\nkind = "array"', "source.path: required, but not given"),
        (MINIMAL + '[source]\nkind = "stdin"\nrate = 1', "source.rate: unknown key"),
        (CLOUD + "deadline = 0", "cloud.deadline: expected `float` > 0.0"),
        (CLOUD + 'deadline = "1s"', "cloud.deadline: expected `float`, got `str`"),
        (CLOUD + "max_inflight = 0", "cloud.max_inflight: expected `int` >= 1"),
        (MQTT + "port = 65536", "mqtt.port: expected `int` <= 65535"),
        (MQTT + 'root = "a/#"', "mqtt.root: expected `str` matching regex"),
        (MQTT + "[mqtt.tls]", "mqtt.tls.ca: required, but not given"),
        (MINIMAL + "[metrics]\nport = -1", "metrics.port: expected `int` >= 0"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'node.toml'}: {problem}")
    assert "\n" not in str(caught.value)
