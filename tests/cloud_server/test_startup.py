"""The command line: what it prints when all is well, and the one line it says when it is not."""

import socket
from contextlib import nullcontext
from pathlib import Path

import pytest

from cloud_server import listening
from cloud_server.config import load
from cloud_server.errors import ListenError
from protos import artifact
from tests.cloud_server.conftest import ANY_PORT
from tests.cloud_server.process import finished, started
from tests.models import cloud_artifact, linear

EVERYWHERE = "0.0.0.0"
FREE = {"TIDEGATE_SERVER__PORT": "0", "TIDEGATE_METRICS__PORT": "0"}


def refused(*arguments: str | Path, **environ: str) -> str:
    """The one line a command fails with."""
    ended = finished(arguments, **environ)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("cloud-server: ")
    return line.removeprefix("cloud-server: ")


def test_the_ready_line_names_addresses_and_models(tmp_path: Path, models: dict[str, Path]) -> None:
    with started(tmp_path, models["cloud"], models["plain"]) as process:
        said = process.ready
    assert said.startswith("cloud-server ready on 127.0.0.1:")
    assert ":0" not in said
    assert said.endswith("models: cloud 1, plain 1\n")


def test_a_config_file_is_enough(workplace: Path) -> None:
    linear(workplace / "models" / "plain.onnx")
    (workplace / "etc").mkdir()
    config = workplace / "etc" / "cloud.toml"
    config.write_text('[[models]]\npath = "../models/plain.onnx"\n')
    with started(workplace, "--config", config) as process:
        assert process.ready.endswith("models: plain 1\n")


def test_check_prints_what_it_would_do_and_serves_nothing(models: dict[str, Path]) -> None:
    ended = finished(["check", models["cloud"], "--port", "0"], TIDEGATE_METRICS__PORT="0")
    assert (ended.returncode, ended.stderr) == (0, "")
    sha256 = artifact.digest(models["cloud"] / "model.onnx")
    assert (
        f"would serve cloud 1: x FP32 [-1, 3] -> logits FP32 [-1, 3], fp32, sha256 {sha256}" in ended.stdout
    )
    assert "server.port = 0\n" in ended.stdout
    assert "would run them on cpu\n" in ended.stdout


MISSPELT = {
    "TIDEGATE_REPOSITORY__PINNED": "{nosuch=[1]}",
    "TIDEGATE_BATCHING__SIZES": "{net=1, nett=2}",
    "TIDEGATE_BATCHING__DELAYS": "{nte=0.1}",
}
ABSENT = [
    "repository.pinned names 'nosuch', and no such model is here: it has no effect until there is one",
    "batching.sizes names 'nett', and no such model is here: is 'net' meant?",
    "batching.delays names 'nte', and no such model is here: is 'net' meant?",
]


@pytest.mark.parametrize("command", ["check", "models"])
def test_a_model_that_only_the_settings_know_is_named(workplace: Path, command: str) -> None:
    """``net`` itself is not; and it is no mistake, for the model may come later."""
    linear(workplace / "models" / "net" / "1" / "model.onnx")
    folder = {"TIDEGATE_REPOSITORY__PATH": str(workplace / "models")}
    ended = finished([command], **FREE, **folder, **MISSPELT)
    assert ended.returncode == 0, ended.stderr
    said = [line for line in ended.stdout.splitlines() if line.startswith("warning: ")]
    assert said == [f"warning: {line}" for line in ABSENT]


def test_a_model_that_only_the_settings_know_is_in_the_log(workplace: Path) -> None:
    linear(workplace / "models" / "net" / "1" / "model.onnx")
    folder = {"TIDEGATE_REPOSITORY__PATH": str(workplace / "models")}
    with started(workplace, **folder, **MISSPELT) as process:
        assert process.ready.endswith("models: net 1\n")
        logged = process.log.read_text().splitlines()
    assert [line.partition(" WARNING ")[2] for line in logged if "no such model" in line] == ABSENT


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_and_version(arguments: list[str]) -> None:
    assert finished(arguments).returncode == 0


def test_nothing_to_serve() -> None:
    assert (
        refused("run")
        == "no model: name a folder or an ONNX file, or give --config with [[models]] or [repository]"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nprot = 1", "server.prot: unknown key"),
        ("[server]\nport = '1'", "server.port: expected `int`, got `str`"),
        ("[server]\nport = 65536", "server.port: expected `int` <= 65535"),
        ("[tls]\ncert = 'c.pem'", "tls.key: required, but not given"),
        ("[server\n", "not TOML: Expected ']' at the end of a table declaration (at line 1, column 8)"),
    ],
)
def test_a_mistake_in_the_config(tmp_path: Path, text: str, problem: str) -> None:
    config = tmp_path / "cloud.toml"
    config.write_text(text)
    assert refused("run", "--config", config) == f"{config}: {problem}"


def test_an_absent_config(tmp_path: Path) -> None:
    config = tmp_path / "cloud.toml"
    assert refused("check", "--config", config) == f"{config}: no such file or directory"


def test_a_mistake_in_the_environment(models: dict[str, Path]) -> None:
    said = refused("run", models["plain"], TIDEGATE_SERVER__THREADS="-1")
    assert said == "TIDEGATE_SERVER__THREADS: server.threads: expected `int` >= 0"


def test_a_provider_that_is_not_installed(models: dict[str, Path]) -> None:
    said = refused("check", models["plain"], TIDEGATE_EXECUTION__PROVIDERS='["openvino", "cpu"]', **FREE)
    assert said.startswith("[execution] providers: openvino is not in the onnxruntime ")
    assert said.endswith("which has cpu: pip install onnxruntime-openvino in its place")


def test_a_provider_that_nobody_knows(models: dict[str, Path]) -> None:
    said = refused("check", models["plain"], TIDEGATE_EXECUTION__PROVIDERS='["tpu"]')
    assert said.startswith("TIDEGATE_EXECUTION__PROVIDERS: execution.providers[0]: invalid enum value 'tpu'")


@pytest.mark.parametrize("command", ["run", "models", "check"])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("absent.onnx", "no such file or folder"),
        ("folder", "has no manifest.json"),
        ("text.onnx", "is no ONNX model"),
    ],
)
def test_what_is_no_model(workplace: Path, command: str, name: str, problem: str) -> None:
    (workplace / "folder").mkdir()
    (workplace / "text.onnx").write_text("no model")
    assert problem in refused(command, workplace / name, **FREE)


@pytest.mark.parametrize("command", ["run", "models", "check"])
def test_a_version_that_is_no_number(workplace: Path, command: str) -> None:
    linear(workplace / "models" / "net" / "v1" / "model.onnx")
    said = refused(command, TIDEGATE_REPOSITORY__PATH=str(workplace / "models"), **FREE)
    assert said == f"model {workplace / 'models'}: holds no NAME/VERSION/ of a model, such as resnet/1/"


def test_a_changed_byte_in_an_artifact(tmp_path: Path) -> None:
    model = cloud_artifact(tmp_path / "cloud").model
    model.write_bytes(model.read_bytes() + b" ")
    assert "model.onnx is not the one packed: SHA-256" in refused("run", model.parent)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert "is no ONNX model that can run here" in refused("run", tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("section", "flag"), [("server", "TIDEGATE_SERVER__PORT"), ("metrics", "TIDEGATE_METRICS__PORT")]
)
def test_a_port_in_use(models: dict[str, Path], section: str, flag: str) -> None:
    free = {"TIDEGATE_SERVER__PORT": "0", "TIDEGATE_METRICS__PORT": "0"}
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        said = refused("run", models["plain"], **{**free, flag: str(port)})
    assert said.startswith(
        f"[{section}] 127.0.0.1:{port}: address already in use; set [{section}] host or port"
    )


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("section", ["rest", "health", "metrics"])
def test_a_port_that_is_given_twice(models: dict[str, Path], command: str, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as freed:
        port = str(freed.getsockname()[1])
    twice = {**FREE, "TIDEGATE_SERVER__PORT": port, f"TIDEGATE_{section.upper()}__PORT": port}
    assert refused(command, models["plain"], **twice) == (
        f"[{section}] 127.0.0.1:{port}: server.port is the same: set {section}.port or server.port to "
        "another one; port 0 is any free one"
    )


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "::", True),
        ("0.0.0.0", "::1", False),
        ("::1", "127.0.0.1", False),
        ("localhost", "127.0.0.1", True),
    ],
)
def test_a_port_may_be_given_once_for_each_address(one: str, other: str, *, meet: bool) -> None:
    settings = load(
        None,
        {
            "models": [{"path": "m"}],
            "server.host": one,
            "server.port": 9000,
            "metrics.host": other,
            "metrics.port": 9000,
        },
    )
    with pytest.raises(ListenError, match=r"server\.port is the same") if meet else nullcontext():
        listening.require_apart(settings)


def test_ports_of_parts_that_are_not_there_are_nobodys() -> None:
    """Without models nothing listens on ``server.port``; any free port is never another's."""
    listening.require_apart(load(None, {"metrics.port": 8001}))
    listening.require_apart(load(None, {"models": [{"path": "m"}], **ANY_PORT, "rest.port": 0}))


def test_a_host_that_is_not_ours(models: dict[str, Path]) -> None:
    assert refused("run", models["plain"], "--host", "no.such.host.invalid").startswith(
        "[server] no.such.host"
    )


def test_beyond_loopback_only_on_demand(models: dict[str, Path]) -> None:
    said = refused("run", models["plain"], "--host", EVERYWHERE)
    assert said == (
        "[server] 0.0.0.0: is reachable from other machines: give [tls] cert and key, with client_ca or "
        "[tokens] for a login, or say --insecure"
    )


def test_insecure_is_said_loudly(tmp_path: Path, models: dict[str, Path]) -> None:
    with started(tmp_path, models["plain"], "--host", EVERYWHERE, "--insecure") as process:
        assert process.ready.startswith("cloud-server ready on 0.0.0.0:")
        assert "WITHOUT ENCRYPTION OR LOGIN" in process.log.read_text()
