"""The oversight of a node's gate, from its settings and what its artifact carries."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator
from datetime import timedelta

from edge_node import config
from edge_node.errors import NodeError
from edge_node.gate import certificate as contract
from edge_node.gate.audit import Audit
from edge_node.gate.benefit import Benefit
from edge_node.gate.budget import (
    DAY,
    ByteTarget,
    Controller,
    Mode,
    Quantiles,
    ShareTarget,
    Target,
    Together,
    TokenBucket,
)
from edge_node.gate.certificate import Certificate
from edge_node.gate.confidence import ConfidenceGate
from edge_node.gate.ground import Ground, OnAlarm
from edge_node.gate.oversight import Certified, Oversight, Pace, Paced, Uncontrolled
from edge_node.gate.policy import SEDNA
from edge_node.gate.standing import Standing, Uncertified
from protos.artifact import Artifact
from protos.codec import DTYPES

AUDITED = 0.02
"""Share of the samples that is watched where there is a certificate to watch over."""
BURST = 60.0
"""Seconds' worth of bytes that a budget a second may spend at once."""
PHOTO = 64 * 2**10
"""Bytes of an encoded image, so far as a pace has to know."""

log = logging.getLogger(__name__)


def buckets(bytes_per_day: float | None, bytes_per_second: float | None = None) -> Together:
    """The hard bounds on payload bytes."""
    daily = [TokenBucket.a_day(bytes_per_day)] if bytes_per_day else []
    steady = [TokenBucket(bytes_per_second, BURST * bytes_per_second)] if bytes_per_second else []
    return Together(*daily, *steady)


def oversee(
    settings: config.EdgeConfig, artifact: Artifact, gate: ConfidenceGate, suspended: Callable[[], bool]
) -> Oversight:
    """What watches over this gate; ``suspended``: the way to the cloud is shut.

    ``NodeError`` for a budget that this gate has no pace for.
    """
    by_threshold = SEDNA.get(settings.gate.policy, settings.gate.policy) == "threshold"
    if settings.budget.offload_share and not by_threshold:
        raise NodeError(
            f"[budget] offload_share moves a threshold: policy {settings.gate.policy} has its own"
        )
    certified = by_threshold and settings.gate.threshold is None
    found = contract.load(artifact) if certified else None
    standing = _standing(settings.certificate, artifact, found, gate)
    key = hashlib.blake2b(f"{settings.node.site}/{settings.node.name}".encode(), digest_size=16).digest()
    watched = AUDITED if isinstance(standing, Standing) else 0.0
    share = settings.audit.share if settings.audit.share is not None else watched
    allowance = buckets(settings.audit.bytes_per_day)
    own = Uncontrolled(gate.threshold)
    pace = _pace(settings.budget, artifact, standing, found, suspended) if by_threshold else own
    return Oversight(
        pace,
        Audit(key, share if settings.cloud else 0.0, allowance, standing),
        standing,
        Benefit.of(key, found, 2 * settings.certificate.scene)
        if found and isinstance(standing, Standing)
        else None,
    )


def _standing(
    settings: config.Certificate, artifact: Artifact, found: Certificate | None, gate: ConfidenceGate
) -> Standing | Uncertified:
    if found is None:
        return Uncertified(Ground.NONE, gate.threshold, "the artifact carries no certificate for this gate")
    if problem := contract.verify(found, artifact):
        log.error("the certificate does not hold: %s", problem)
        return Uncertified(Ground.MISMATCH, gate.threshold, problem)
    age = timedelta(days=settings.max_age) if settings.max_age else None
    expires = (found.made_at + age).timestamp() if age and found.made_at else math.inf
    standing = Standing(found, OnAlarm(settings.on_alarm), settings.limit, expires)
    standing.pool(2 * settings.scene)
    return standing


def _pace(
    settings: config.Budget,
    artifact: Artifact,
    standing: Standing | Uncertified,
    found: Certificate | None,
    suspended: Callable[[], bool],
) -> Pace:
    targets = list(_targets(settings, _largest(found, artifact)))
    if not targets:
        return Certified(standing) if isinstance(standing, Standing) else Uncontrolled(standing.threshold)
    quantiles = Quantiles(found.quantiles) if found else _evenly(artifact)
    controller = Controller(targets, quantiles, lambda: standing.threshold, Mode(settings.mode), suspended)
    return Paced(controller)


def _targets(settings: config.Budget, largest: float) -> Iterator[Target]:
    if settings.offload_share:
        yield ShareTarget(settings.offload_share)
    if settings.bytes_per_second:
        yield ByteTarget(settings.bytes_per_second, largest)
    if settings.bytes_per_day:
        yield ByteTarget(settings.bytes_per_day / DAY, largest)


def _largest(found: Certificate | None, artifact: Artifact) -> float:
    """Bytes of a large payload."""
    spec = artifact.manifest.signature.input
    tensor = math.prod(max(size, 1) for size in spec.shape) * DTYPES[spec.datatype].itemsize
    return 2 * found.payload if found and found.payload else min(tensor, PHOTO)


def _evenly(artifact: Artifact) -> Quantiles:
    """Without a certificate nobody knows how the scores lie: evenly between their bounds."""
    own = artifact.manifest.gate
    low, high = own.score.bounds if own else (0.0, 1.0)
    if math.isinf(low) or math.isinf(high):
        raise NodeError(
            "[budget] the score of this artifact has no bounds: certify it, or take another score"
        )
    return Quantiles((low, high))
