"""`python -m deploy.demo`: edge-only, hybrid and cloud-only side by side, as real processes."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deploy.demo.errors import DemoError
from deploy.demo.link import PROFILES
from deploy.demo.run import Demo
from deploy.demo.scenario import Scenario
from protos.artifact import ArtifactError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 if all processes ended well and the counts add up, 2 for a mistake in what was asked."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failures = _run(options)
    except (DemoError, ArtifactError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    for failure in failures:
        print(f"demo: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _run(options: argparse.Namespace) -> list[str]:
    console = Console(markup=False, highlight=False, soft_wrap=True)
    run_dir: Path = (options.out or Path(".demo") / options.scenario).absolute()
    _make(run_dir)
    scenario = _scenario(options, run_dir, console)
    return Demo(scenario, options.link, run_dir, console, options.prometheus).run(once=options.once)


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"cannot write to {run_dir}: {error.strerror}; choose another --out") from error


def _scenario(options: argparse.Namespace, run_dir: Path, console: Console) -> Scenario:
    if options.scenario == "wrist":
        if options.images or options.labels:
            raise DemoError("--images and --labels go with --scenario photos (make: SCENARIO=photos)")
        from deploy.demo import wrist

        return wrist.scenario(run_dir, options.limit)
    from deploy.demo.photos.scenario import scenario

    return scenario(run_dir, options.images, options.labels, options.limit, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description=__doc__)
    parser.add_argument("--scenario", choices=["wrist", "photos"], default="wrist")
    parser.add_argument(
        "--link", choices=list(PROFILES), default="lte", help="the network between (%(default)s)"
    )
    parser.add_argument("--once", action="store_true", help="end after the table")
    parser.add_argument("--prometheus", action="store_true", help="then also watch it with one, if installed")
    parser.add_argument("--images", type=Path, metavar="DIR", help="photos: folder of JPEG files")
    parser.add_argument("--labels", type=Path, metavar="CSV", help="photos: the true class of each file")
    parser.add_argument("--limit", type=_positive, metavar="N", help="samples a device, at most")
    parser.add_argument("--out", type=Path, metavar="DIR", help="logs and report (.demo/SCENARIO)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
