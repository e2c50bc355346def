"""Which target a machine is."""

from pathlib import Path

import pytest

from edge_node.prepare.errors import PrepareError
from edge_node.prepare.targets import TARGETS, host, resolve


@pytest.mark.parametrize(
    ("machine", "flags", "target"),
    [
        ("x86_64", "fpu sse2 avx2 avx512_vnni", "x86-vnni"),
        ("AMD64", "fpu avx2 avx_vnni", "x86-vnni"),
        ("x86_64", "fpu sse2 avx2", "x86-avx2"),
        ("aarch64", "fp asimd", "arm64"),
        ("arm64", "", "arm64"),
    ],
)
def test_the_flags_of_a_cpu_say_what_it_is(tmp_path: Path, machine: str, flags: str, target: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    assert host(machine, tmp_path / "cpuinfo") == target


def test_an_x86_that_does_not_tell_is_taken_for_an_old_one(tmp_path: Path) -> None:
    assert host("x86_64", tmp_path / "absent") == "x86-avx2"


def test_auto_is_this_machine() -> None:
    assert resolve("auto") == TARGETS[host()]


def test_an_unknown_target_lists_the_known() -> None:
    with pytest.raises(PrepareError, match="choose auto, x86-vnni, x86-avx2, arm64"):
        resolve("riscv")
