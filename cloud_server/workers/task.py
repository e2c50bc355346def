"""What supervisor and workers tell each other."""

from dataclasses import dataclass
from pathlib import Path

from cloud_server.config import CloudConfig

BEAT, PATIENCE = 1.0, 15.0
"""Seconds between a worker's signs of life; and without one, until it is taken for hung and replaced."""

Served = list[tuple[str, str, str, str]]
"""Name, version, precision and SHA-256 of each model; of a name's versions the last is the one in force."""


@dataclass(frozen=True)
class Task:
    """What a worker is to do."""

    config: CloudConfig
    """With the ports that are held for it."""
    slot: int
    """Its number among the workers; one that takes its place has the same."""
    folder: Path
    """For its figures."""
    unloaded: frozenset[str]
    """Models in the repository that callers have unloaded."""
