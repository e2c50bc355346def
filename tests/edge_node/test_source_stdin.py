"""Samples as JSON lines on standard input of a real node: each line has its result, whatever it holds."""

import json
import signal
from pathlib import Path

import pytest

from edge_node.sources.stdin import MAX_LINE
from protos import result as contract
from protos.artifact import Artifact
from protos.result import Result
from tests.nodes import finished, started, write_config

STDIN = {"kind": "stdin"}

GOOD = {
    b"[5, 0, 0]": ("1", "red"),
    b'  {"data": [0, 5, 0]}  ': ("2", "green"),
    b'{"sample": "door", "data": [0, 0, 5]}': ("door", "blue"),
    b'{"file": "raw.bin"}': ("raw.bin", "green"),
    b'{"sample": "window", "file": "raw.bin"}': ("window", "green"),
}
BAD = {
    b"hello": "neither an array nor an object with data or file: JSON is malformed",
    b"null": "neither an array nor an object with data or file: Expected `object`, got `null`",
    b"{}": "has neither data nor file",
    b'{"dta": [1]}': "neither an array nor an object with data or file: Object contains unknown field `dta`",
    b'{"file": "absent"}': "absent cannot be read: no such file or directory",
    b'{"file": "a\\u0000b"}': "no name of a file: embedded null byte",
    b"[5, 0": "not JSON: ",
    b'["\xff"]': "not JSON: ",
    b"[[1, 2], [3]]": "a ragged or too deeply nested array",
    b"[" * 99_999: "a ragged or too deeply nested array",
    b'{"data": ' + b"[" * 99_999: "neither an array nor an object with data or file: maximum recursion depth",
    b'["a", "b", "c"]': "not an array of numbers",
    b"[1, null, 2]": "not an array of numbers",
    b"[1, 2]": "shape [2], the model takes [3]",
    b"[1, 2, 1e39]": "has NaN or infinite values",
    b"[1, 2, NaN]": "not JSON: ",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, artifact: Artifact) -> dict[bytes, Result]:
    """The result of each line, all of them fed to one node, with empty lines between."""
    folder = tmp_path_factory.mktemp("stdin")
    raw = folder / "raw.bin"
    raw.write_bytes(b"\0\0\0\0\0\0\xa0\x40\0\0\0\0")
    lines = [*GOOD, *BAD]
    fed = b"\n\n".join(lines).replace(b"raw.bin", str(raw).encode())
    config = write_config(folder, artifact, source=STDIN)
    ended = finished("run", "--config", config, stdin=fed)
    assert ended.code == 0, ended.stderr
    return dict(zip(lines, map(contract.decode, ended.stdout.encode().splitlines()), strict=True))


@pytest.mark.parametrize("line", GOOD)
def test_a_line_is_a_sample(results: dict[bytes, Result], line: bytes) -> None:
    _, label = GOOD[line]
    assert (results[line].label, results[line].reason) == (label, "confident")


def test_a_sample_has_the_name_it_brings_or_its_line_number(results: dict[bytes, Result]) -> None:
    names = [Path(results[line].sample).name for line in GOOD]
    assert names == ["1", "3", "door", "raw.bin", "window"]


@pytest.mark.parametrize("line", BAD, ids=[repr(line[:20]) for line in BAD])
def test_a_line_that_is_no_sample_has_a_result_with_why(results: dict[bytes, Result], line: bytes) -> None:
    result = results[line]
    assert result.reason == "invalid_sample"
    assert (result.label, result.edge, result.confidence) == (None, None, None)
    assert result.error is not None
    assert result.error.startswith(BAD[line])


def test_a_line_that_would_fill_the_memory_ends_the_node(tmp_path: Path, artifact: Artifact) -> None:
    config = write_config(tmp_path, artifact, source=STDIN)
    ended = finished("run", "--config", config, stdin=b"1" * (MAX_LINE + 2**20))
    assert ended.code == 3
    assert ended.stderr.splitlines()[-1] == (
        f"edge-node: source standard input: a line is longer than {MAX_LINE} bytes"
    )


def test_samples_are_answered_as_they_come(tmp_path: Path, artifact: Artifact) -> None:
    with started(tmp_path, write_config(tmp_path, artifact, source=STDIN)) as node:
        for row, label in [([5, 0, 0], "red"), ([0, 5, 0], "green")]:
            node.feed([row])
            assert node.results(1)[0].label == label


def test_a_node_that_waits_for_a_line_stops_on_a_signal(tmp_path: Path, artifact: Artifact) -> None:
    with started(tmp_path, write_config(tmp_path, artifact, source=STDIN)) as node:
        assert node.popen.stdin
        node.popen.stdin.write(json.dumps([5, 0, 0]).encode())  # half a line, so to speak
        node.popen.stdin.flush()
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
