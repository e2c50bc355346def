"""What each kind of CPU computes fastest in int8 without saturating."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edge_node.prepare.errors import PrepareError

TargetName = Literal["x86-vnni", "x86-avx2", "arm64"]
ActivationType = Literal["uint8", "int8"]

_CPUINFO = Path("/proc/cpuinfo")
_VNNI = frozenset({"avx512_vnni", "avx_vnni"})


@dataclass(frozen=True)
class Target:
    """Types of activations for a CPU; weights are int8 everywhere."""

    name: TargetName
    activations: ActivationType
    reduce_range: bool
    """Weights of 7 bits, where the sum of two products would saturate 16 bits."""


TARGETS = {
    target.name: target
    for target in (
        Target("x86-vnni", "uint8", reduce_range=False),
        Target("x86-avx2", "uint8", reduce_range=True),
        Target("arm64", "int8", reduce_range=False),
    )
}


def resolve(name: str) -> Target:
    """The target of that name; for ``auto``, this machine."""
    if name == "auto":
        return TARGETS[host()]
    if name not in TARGETS:
        raise PrepareError(f"target {name!r} is unknown: choose auto, {', '.join(get_args(TargetName))}")
    return next(target for target in TARGETS.values() if target.name == name)


def host(machine: str | None = None, cpuinfo: Path = _CPUINFO) -> TargetName:
    """What this machine is; an x86 that does not tell its flags counts as one without VNNI."""
    if (machine or platform.machine()).lower() in ("aarch64", "arm64"):
        return "arm64"
    try:
        flags = set(cpuinfo.read_text().split())
    except OSError:
        flags = set()
    return "x86-vnni" if flags & _VNNI else "x86-avx2"
