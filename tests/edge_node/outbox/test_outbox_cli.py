"""``edge-node outbox``: what a person sees of it, and what they can do."""

import os
from pathlib import Path

import pytest

from protos import result as contract
from tests.nodes import Ended, finished, write_config
from tests.outboxes import box


def command(folder: Path, *words: str) -> Ended:
    config = write_config(folder, folder / "artifact", outbox={"path": "box"})
    return finished("outbox", "--config", config, *words)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Three results that wait, two that were given up."""
    with box(tmp_path / "box") as outbox:
        outbox.put(5)
        outbox.settle()
        outbox.dead(1, "Not authorized")
        outbox.dead(3, "larger than the broker takes")
    return tmp_path


def test_it_shows_what_waits_and_what_was_given_up(filled: Path) -> None:
    ended = command(filled)
    assert (ended.code, ended.stderr) == (0, "")
    assert f"outbox {filled / 'box'}\nwaiting       3 results, 3." in ended.stdout
    assert "dead letters  2 results, 2." in ended.stdout
    assert "Not authorized\n" in ended.stdout
    assert "larger than the broker takes\n" in ended.stdout


def test_it_shows_whether_there_is_a_sink_to_wait_for(filled: Path) -> None:
    assert "results sink  never heard\n" in command(filled).stdout
    with box(filled / "box") as outbox:
        outbox.confirmation.hear()
    assert "results sink  heard: its word ends the wait\n" in command(filled).stdout


def test_it_reads_beside_a_running_node(filled: Path) -> None:
    with box(filled / "box") as outbox:
        outbox.put(1)
        outbox.settle()
        assert "waiting       4 results" in command(filled).stdout


def test_dead_letters_are_sent_again_from_the_next_start_on(filled: Path) -> None:
    with box(filled / "box"):
        assert command(filled, "retry").stdout == (
            "2 dead letters will be sent again from the next start of the node on\n"
        )
    with box(filled / "box") as outbox:
        assert (outbox.all(), outbox.next_seq) == ([0, 2, 4, 5, 6], 7)
        result = contract.decode(outbox.rows(4, 1)[0].payload)
        assert (result.seq, result.error) == (5, f"{1:0500}")
        assert "dead letters  0 results" in command(filled).stdout


def test_some_may_be_deleted(filled: Path) -> None:
    assert command(filled, "purge", "1").stdout == "1 dead letter deleted\n"
    assert "Not authorized" not in command(filled).stdout
    assert "larger than the broker takes" in command(filled).stdout


def test_a_source_can_be_rewound(filled: Path) -> None:
    assert command(filled, "rewind").code == 0
    with box(filled / "box"):
        ended = command(filled, "rewind")
        assert (ended.code, ended.stderr.count("\n")) == (2, 1)
        assert "in use by another process" in ended.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["purge", "7"], "holds no dead letter 7"),
        (["retry", "1", "9"], "holds no dead letter 9"),
        (["rewind", "1"], "rewind takes no numbers"),
    ],
)
def test_a_mistake_is_one_line(filled: Path, words: list[str], problem: str) -> None:
    ended = command(filled, *words)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert problem in ended.stderr


def test_a_node_that_never_ran_has_nothing(tmp_path: Path) -> None:
    assert command(tmp_path).stdout == f"outbox {tmp_path / 'box'}: nothing was ever kept here\n"


def test_a_damaged_database_is_said(filled: Path) -> None:
    (filled / "box/outbox.db").write_bytes(b"x" * 9000)
    ended = command(filled)
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert "the node mends it when it starts" in ended.stderr


def test_the_folder_is_the_node_s_own_unless_it_is_set(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text('node = { site = "lab", name = "a" }\nmodel = { path = "artifact" }')
    ended = finished("outbox", "--config", config, STATE_DIRECTORY=os.fspath(tmp_path / "state"))
    assert ended.stdout == f"outbox {tmp_path}/state/outbox/lab.a: nothing was ever kept here\n"
