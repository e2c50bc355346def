"""Become another program, under what a systemd unit forbids: ``sandbox.py CALLS PROGRAM ARGUMENT...``.

``CALLS`` is a file with the names of the allowed system calls; any other fails with EPERM, as does
memory that is both writable and executable. systemd makes the same filter with the same library.
"""

import ctypes
import os
import sys
from pathlib import Path

PR_SET_MDWE = 65
REFUSE_EXEC_GAIN = 1
ALLOW = 0x7FFF0000
EPERM = 0x00050001


def forbid_writable_code() -> None:
    """Needs Linux 6.3."""
    if ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0):
        sys.exit("prctl(PR_SET_MDWE) failed")


def allow_only(calls: list[str]) -> None:
    """Load the filter; calls that this machine does not have are passed over, as systemd does."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(seccomp.seccomp_init(EPERM))
    numbers = (seccomp.seccomp_syscall_resolve_name(call.encode()) for call in calls)
    failed = [n for n in numbers if n >= 0 and seccomp.seccomp_rule_add(rules, ALLOW, n, 0)]
    if failed or seccomp.seccomp_load(rules):
        sys.exit(f"libseccomp failed: {failed}")


if __name__ == "__main__":
    forbid_writable_code()
    allow_only(Path(sys.argv[1]).read_text().split())
    os.execvp(sys.argv[2], sys.argv[2:])
