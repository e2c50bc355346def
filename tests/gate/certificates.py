"""A certificate with made-up figures."""

from typing import Any

import msgspec
import numpy as np

from edge_node.gate.certificate import Certificate, Point
from protos.score import Msp

CERTIFICATE = Certificate(
    verdict="Made up.",
    promise="drop",
    epsilon=0.02,
    delta=0.05,
    method="betting",
    score=Msp(),
    temperature=1.0,
    threshold=0.3,
    grid=(0.9, 0.6, 0.5, 0.3),
    quantiles=tuple(np.linspace(0, 1, 257).tolist()),
    steps=(),
    tune=1000,
    n=5000,
    ties=0.0,
    seed=0,
    offload=0.3,
    bytes=0.3,
    q0=0.1,
    mean_gain=0.25,
    stricter=(
        Point(epsilon=0.015, delta=0.05, threshold=0.5, offload=0.5, bytes=0.5, q0=0.07),
        Point(epsilon=0.01, delta=0.05, threshold=0.6, offload=0.6, bytes=0.6, q0=0.05),
    ),
    cert_sha256="0" * 64,
)


def certificate(**changes: Any) -> Certificate:
    """The certificate, with other figures."""
    return msgspec.structs.replace(CERTIFICATE, **changes)
