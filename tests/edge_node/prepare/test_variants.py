"""What the quantising library does is kept apart from what a user sees."""

import logging

import numpy as np
import pytest

from edge_node.prepare.errors import GraphError
from edge_node.prepare.variants import Reader, _library


def test_what_the_library_raises_becomes_one_line() -> None:
    with pytest.raises(GraphError, match=r"^onnxruntime cannot quantise the model: 'axis'$"), _library():
        raise KeyError("axis")


def test_a_full_disk_is_no_fault_of_the_model() -> None:
    with pytest.raises(OSError, match="full"), _library():
        raise OSError(28, "disk full")


def test_what_the_library_prints_and_logs_is_not_shown(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with _library():
        print("Collecting tensor data and making histogram ...")  # noqa: T201 - as the library does
        logging.warning("Please consider to run pre-processing")  # noqa: LOG015 - as the library does
    logging.getLogger("ours").warning("shown again")
    assert capsys.readouterr().out == ""
    assert [record.message for record in caplog.records] == ["shown again"]


def test_samples_are_read_in_ranges_one_at_a_time() -> None:
    reader = Reader("x", np.arange(6).reshape(6, 1))
    reader.set_range(2, 4)
    assert [feed["x"].tolist() for feed in reader] == [[[2]], [[3]]]
    assert (reader.get_next(), len(reader)) == (None, 6)
