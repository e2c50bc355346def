"""``cloud-server``: serve models over the Open Inference Protocol v2, and keep the results of a fleet."""

import argparse
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_server import config
from cloud_server.config import CloudConfig
from cloud_server.errors import StartError
from cloud_server.inference import sandbox
from protos.settings import SettingsError, render

if TYPE_CHECKING:
    from cloud_server.server import Running

EXAMPLES = """
examples:
  cloud-server run models/big               an artifact's folder, on 127.0.0.1:8001
  cloud-server run resnet.onnx --port 9000  any ONNX file, served as "resnet"
  cloud-server run --config cloud.toml      several models, TLS, metrics: all as the file says
  cloud-server check --config cloud.toml    would that start, and what would it do?
  cloud-server models --config cloud.toml   which versions of [repository], and why not the others?
  cloud-server gaps --config cloud.toml     results that nodes gave up, by number

Settings come from the file, over it TIDEGATE_SECTION__KEY from the environment (such as
TIDEGATE_SERVER__PORT=9000), over both the flags. Exit code 2: it cannot start, and says why.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        given.command(_settings(given))
    except _refusals() as error:
        sys.stderr.write(f"cloud-server: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _refusals() -> tuple[type[Exception], ...]:
    """What is said in one line. Not loaded before it is needed: it takes as long as a third of the start."""
    from protos.artifact import ArtifactError
    from protos.image import NoPillow

    return StartError, SettingsError, ArtifactError, NoPillow


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud-server",
        description="Serve models over gRPC, in the Open Inference Protocol v2; store results from MQTT.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tidegate {version('tidegate')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, summary in (
        ("run", _run, "serve until SIGTERM, then answer what is under way and stop"),
        ("check", _check, "load everything, serve nothing, print what would be served"),
        ("models", _models, "load every model, print each version, and why one cannot be served"),
        ("gaps", _gaps, "print which results will never come, as their nodes said"),
    ):
        subparser = commands.add_parser(name, help=summary, description=summary)
        subparser.set_defaults(command=command)
        _add_settings(subparser)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="*",
        type=Path,
        metavar="MODEL",
        help="artifact folder or ONNX file; instead of [[models]]",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port for gRPC (8001); 0: any free one")
    parser.add_argument(
        "--insecure", action="store_true", default=None, help="listen beyond loopback without TLS or login"
    )


def _settings(given: argparse.Namespace) -> CloudConfig:
    settings = config.load(given.config, _flags(given))
    if not settings.serves_models and not settings.fleet:
        raise StartError(
            "no model: name a folder or an ONNX file, or give --config with [[models]] or [repository]"
        )
    if settings.dashboard and not settings.fleet:
        raise StartError("[dashboard] shows the nodes of [fleet], which is missing")
    return settings


def _flags(given: argparse.Namespace) -> dict[str, object]:
    """Settings that were given, by ``section.key``. Paths here are the shell's, not the config file's."""
    flags = {f"server.{key}": getattr(given, key) for key in ("host", "port", "insecure")}
    flags["models"] = [{"path": str(path.absolute())} for path in given.models] or None
    return {key: value for key, value in flags.items() if value is not None}


def _run(settings: CloudConfig) -> None:
    with sandbox.early(settings):
        from cloud_server import server

        server.run(settings, _announce)


def _check(settings: CloudConfig) -> None:
    from cloud_server import server
    from cloud_server.access.certificates import out_of_date
    from cloud_server.access.summary import lines

    checked = server.check(settings)
    _say(render(settings))
    for model in checked.repository:
        _say(f"would serve {model.card}")
    if settings.serves_models:
        _say(f"would run them on {', '.join(settings.execution.providers)}")
        _say(f"would accept requests of up to {checked.repository.request_bytes:,} bytes")
        for line in lines(settings):
            _say(f"would {line}")
    if settings.fleet:
        _say(f"would store {checked.fleet}")
    for line in checked.absent:
        _say(f"warning: {line}")
    if settings.serves_models and (error := out_of_date(settings.tls)):
        raise error


def _models(settings: CloudConfig) -> None:
    if not settings.serves_models:
        raise StartError("no model: name a folder or an ONNX file, or give --config with [repository]")
    from cloud_server.inference import loading
    from cloud_server.inference.absent import absent

    catalogue = loading.load(settings)
    for entry in catalogue.index():
        if entry.reason:
            _say(f"cannot serve {entry.name} {entry.version}: {entry.reason}")
        else:
            _say(f"would serve {catalogue.repository.get(entry.name, entry.version).card}")
    for line in absent(settings, catalogue):
        _say(f"warning: {line}")


def _gaps(settings: CloudConfig) -> None:
    if settings.fleet is None:
        raise StartError("no [fleet]: give the --config of the server that stores the results")
    from cloud_server.fleet.serving import gaps

    for gap in gaps(settings.fleet):
        since = datetime.fromtimestamp(gap.known_since, UTC).isoformat(timespec="seconds")
        count = gap.last - gap.first + 1
        _say(f"{gap.site}/{gap.node} stream {gap.stream}: {gap.first} to {gap.last} ({count}), since {since}")


def _announce(running: "Running") -> None:
    models = ", ".join(running.models)
    parts = (
        f"cloud-server ready on {running.address}" if models else "cloud-server ready",
        f"metrics on {running.metrics_url}",
        models and f"models: {models}",
        running.fleet,
        f"{running.workers} workers" if running.workers > 1 else "",
        running.dashboard and f"dashboard on {running.dashboard}",
    )
    _say(", ".join(filter(None, parts)))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
