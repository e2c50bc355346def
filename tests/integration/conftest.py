"""What the tests of the whole share."""

from pathlib import Path

import pytest

from tests.integration.fleet import artifacts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Artifacts of an edge, of its cloud, and of another cloud."""
    return artifacts(tmp_path)
