"""What tests of the edge node share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing on a thread of a library's own ended in a traceback that only a log tells of."""
    yield
    records = caplog.get_records("setup") + caplog.get_records("call")
    assert [record.getMessage() for record in records if record.exc_info] == []
