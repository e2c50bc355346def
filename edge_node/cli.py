"""The ``edge-node`` command."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from protos.artifact import ArtifactError
from protos.settings import SettingsError

EXIT_CODES = """\
exit codes:
  0  done, or stopped by a signal
  2  wrong settings, artifact or cloud model: restarting does not help
  3  the source of samples failed: a supervisor may restart
  4  selftest: this device does not reproduce the golden vectors
  5  prepare certify: the samples do not carry the promise
"""

log = logging.getLogger("edge_node")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, and exit with a code that fits; no traceback for what a user can mend."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.debug else logging.INFO,
        format="%(levelname)s %(message)s",
    )
    from edge_node.errors import NodeError

    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except NodeError as error:
        _fail(error, error.exit_code)
    except (SettingsError, ArtifactError) as error:
        _fail(error, 2)


def _fail(error: Exception, code: int) -> None:
    print(f"edge-node: {error}", file=sys.stderr)
    sys.exit(code)


def _run(options: argparse.Namespace) -> None:
    from edge_node import config
    from edge_node.errors import NodeError

    settings = config.load(options.config)
    if settings.source is None:
        raise NodeError(f"{options.config}: there is nothing to run on: add a section [source]")

    from edge_node.node import EdgeNode  # a mistake in the settings need not wait for its libraries
    from edge_node.publisher import StdoutPublisher
    from edge_node.supervise import notify, stop_on_signals, watchdog

    with stop_on_signals() as stop, EdgeNode.open(settings, StdoutPublisher(stop)) as node:
        log.info("node %s/%s is running", settings.node.site, settings.node.name)
        notify("READY=1")
        with watchdog(lambda: node.busy_since):
            node.run(stop)
        notify("STOPPING=1")


def _check(options: argparse.Namespace) -> None:
    from edge_node import config
    from edge_node.check import check
    from protos.settings import render

    settings = config.load(options.config)
    print(render(settings), "", *check(settings), sep="\n")


def _selftest(options: argparse.Namespace) -> None:
    from edge_node.choice import remember
    from edge_node.selftest import selftest
    from protos import artifact

    tested = artifact.load(options.artifact)
    report = selftest(tested, options.threads)
    print(report)
    if tested.variants and (kept := remember(tested, report.chosen.artifact)):
        print(f"edge-node run will use it: remembered in {kept}")


def _outbox(options: argparse.Namespace) -> None:
    from edge_node.outbox.cli import main as outbox

    outbox(options)


def _certificate(options: argparse.Namespace) -> None:
    from edge_node.errors import NodeError
    from edge_node.gate import certificate, show
    from protos import artifact

    shown = artifact.load(options.artifact)
    if (found := certificate.load(shown)) is None:
        raise NodeError(f"{shown.directory} carries no certificate: edge-node prepare certify makes one")
    print(*show.lines(found, certificate.verify(found, shown)), sep="\n")
    if options.node:
        from edge_node.top.reading import address, fetch
        from edge_node.top.standing import lines

        print(*lines(fetch(address(options.node))), sep="\n")


def _label(options: argparse.Namespace) -> None:
    from edge_node import config
    from edge_node.broker import labels
    from edge_node.errors import NodeError

    settings = config.load(options.config)
    if settings.mqtt is None:
        raise NodeError(f"{options.config}: labels go by way of a broker: add a section [mqtt]")
    try:
        lines = (options.labels.read_text() if options.labels else sys.stdin.read()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NodeError(f"labels: {error}") from error
    print(f"sent {labels.send(settings.mqtt, labels.read(lines))} labels")


def _top(options: argparse.Namespace) -> None:
    from edge_node.errors import NodeError

    try:
        from edge_node.top.cli import main as top
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise NodeError(f"{package} is not installed: pip install 'tidegate[top]'") from error
    top(options)


def _prepare(options: argparse.Namespace) -> None:
    from edge_node.prepare.cli import main as prepare

    prepare(options.arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-node",
        description="Answers on the device with an int8 model, and asks the cloud where it is not sure.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-node {version('tidegate')}")
    parser.add_argument("--debug", action="store_true", help="log what happens inside")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_running(commands)
    _add_models(commands)
    return parser


def _add_running(commands: Any) -> None:
    """What concerns a node at work."""
    run = commands.add_parser("run", help="answer samples until the source ends or a signal comes")
    run.set_defaults(command=_run)
    check = commands.add_parser("check", help="validate settings and artifact without running; print both")
    check.set_defaults(command=_check)
    outbox = commands.add_parser("outbox", help="show what waits to be sent; retry or purge dead letters")
    outbox.set_defaults(command=_outbox)
    outbox.add_argument(
        "action",
        nargs="?",
        choices=("show", "retry", "purge", "rewind"),
        default="show",
        help="show (default); retry: send dead letters again from the next start on; purge: delete them; "
        "rewind: begin the source again at the next start",
    )
    outbox.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="dead letters; default: all")
    for needs_config in (run, check, outbox):
        needs_config.add_argument("--config", type=Path, required=True, metavar="node.toml")

    top = commands.add_parser("top", help="show on one screen of a terminal what a running node does")
    top.set_defaults(command=_top)
    where = top.add_mutually_exclusive_group()
    where.add_argument(
        "url", nargs="?", metavar="URL", help="of its metrics; default: this machine, port 9464"
    )
    where.add_argument("--config", type=Path, metavar="node.toml", help="of the node, for its [metrics]")
    top.add_argument("--once", action="store_true", help="print one plain frame and exit")

    label = commands.add_parser("label", help="tell nodes what samples really were, once that is known")
    label.set_defaults(command=_label)
    label.add_argument("--config", type=Path, required=True, metavar="node.toml", help="for its [mqtt]")
    label.add_argument(
        "labels",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="a line each: id of the result, comma, label; default: standard input",
    )


def _add_models(commands: Any) -> None:
    """What concerns artifacts."""
    selftest = commands.add_parser(
        "selftest", help="replay golden vectors on this device, choose the form of the model"
    )
    selftest.set_defaults(command=_selftest)
    selftest.add_argument("artifact", type=Path, metavar="ARTIFACT_DIR")
    selftest.add_argument("--threads", type=int, default=0, help="default: chosen by measurement")

    certificate = commands.add_parser("certificate", help="what an artifact promises, and on what grounds")
    certificate.set_defaults(command=_certificate)
    certificate.add_argument("action", choices=("show",))
    certificate.add_argument("artifact", type=Path, metavar="ARTIFACT_DIR")
    certificate.add_argument(
        "--node", metavar="HOST:PORT", help="of the metrics of a node that runs it: how it stands there"
    )

    prepare = commands.add_parser(
        "prepare",
        help="make artifacts (on a workstation)",
        add_help=False,
        prefix_chars="\0",  # its flags are its own, --help too
    )
    prepare.set_defaults(command=_prepare)
    prepare.add_argument("arguments", nargs=argparse.REMAINDER)


if __name__ == "__main__":
    main()
