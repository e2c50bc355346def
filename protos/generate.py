"""Regenerate the checked-in stubs: ``python -m protos.generate [--check]``, from the repository root.

The generator is pinned old (its output runs on every newer runtime). The stubs are put into a
descriptor pool of their own, since ``tritonclient`` and ``mlserver`` register the same names in
the default one and both must be able to live in one process with us.
"""

import argparse
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

GENERATOR = "1.76.0"
HERE = Path(__file__).parent
STUBS = ("inference_pb2.py", "inference_pb2.pyi", "inference_pb2_grpc.py")
SHARED_POOL = "_descriptor_pool.Default()"
PRIVATE_POOL = "_descriptor_pool.DescriptorPool()"


def generate(out: Path) -> None:
    """Write the stubs below ``out/protos``; ``SystemExit`` if the pinned generator is missing."""
    _require_generator()
    from grpc_tools import protoc

    outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["", f"-I{HERE.parent}", *outputs, str(HERE / "inference.proto")]):
        raise SystemExit("protoc failed")
    messages = out / "protos" / STUBS[0]
    text = messages.read_text()
    if text.count(SHARED_POOL) != 1:
        raise SystemExit(f"{messages.name}: expected {SHARED_POOL} once; is the generator another one?")
    messages.write_text(text.replace(SHARED_POOL, PRIVATE_POOL))


def stale() -> list[str]:
    """Names of checked-in stubs that differ from what the generator writes now."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder) / "protos"
        return [name for name in STUBS if (fresh / name).read_bytes() != (HERE / name).read_bytes()]


def _require_generator() -> None:
    try:
        found = version("grpcio-tools")
    except PackageNotFoundError:
        found = "none"
    if found != GENERATOR:
        raise SystemExit(f"found grpcio-tools {found}: pip install grpcio-tools=={GENERATOR}")


def main() -> None:
    """Write the stubs, or with ``--check`` exit with 1 if they are out of date."""
    parser = argparse.ArgumentParser(prog="python -m protos.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a stub is out of date")
    if not parser.parse_args().check:
        generate(HERE.parent)
    elif names := stale():
        sys.exit(f"out of date: {', '.join(names)}; run python -m protos.generate")


if __name__ == "__main__":
    main()
