"""Make what the device runs: artifacts, on a workstation."""

import argparse
from collections.abc import Sequence

from edge_node.errors import NodeError
from edge_node.prepare import compare_cli, footprint_cli, pack_cli, quantize_cli
from edge_node.prepare.certify import cli as certify_cli
from edge_node.prepare.certify import plan_cli
from edge_node.prepare.errors import Interrupted, PrepareError
from edge_node.prepare.qat import cli as qat_cli
from protos.artifact import ArtifactError

COMMANDS = (quantize_cli, qat_cli, compare_cli, certify_cli, plan_cli, footprint_cli, pack_cli)
"""Each adds its own, returns what to tell, and imports what a device does not have only when it runs."""


def main(arguments: Sequence[str]) -> None:
    """Parse and run; ``NodeError`` says what was wrong."""
    options = _parser().parse_args(arguments)
    try:
        said: str | None = options.command(options)
    except ArtifactError as error:
        raise NodeError(str(error)) from error
    except ModuleNotFoundError as error:
        raise PrepareError(f"{error.name} is not installed: pip install 'tidegate[prepare]'") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise PrepareError(f"{where}{(error.strerror or str(error)).lower()}; nothing was written") from error
    except KeyboardInterrupt:
        raise Interrupted from None
    if said:
        print(said)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-node prepare", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return parser
