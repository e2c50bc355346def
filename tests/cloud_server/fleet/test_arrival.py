"""Messages that lie: each is refused by its reason, and kept if it at least tells its number."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_server.fleet.arrival import LARGEST, LONGEST, Refused, Stream, read
from protos import result as contract
from tests.results import result

HERE = ["lab", "a"]
GOOD = contract.encode(result(seq=5, stream=7))


def changed(**fields: object) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(GOOD), **fields})


def refusal(names: list[str], payload: bytes, floor: str | None = None) -> str:
    with pytest.raises(Refused) as caught:
        read(names, payload, floor)
    return caught.value.reason


def test_a_result() -> None:
    arrival = read(HERE, GOOD, "3")
    assert (arrival.stream, arrival.seq, arrival.floor) == (Stream("lab", "a", 7), 5, 3)
    assert arrival.refused is None
    assert arrival.row["payload"].encode() == GOOD
    assert arrival.row["label"] == "red"
    assert arrival.captured_at == arrival.row["captured_at"] == result().captured_at.timestamp()


def test_what_waited_for_the_broker_says_nothing_of_the_lag() -> None:
    assert read(HERE, changed(replayed=True)).captured_at is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (changed(schema="tidegate.result/2"), "malformed"),
        (changed(colour="red"), "malformed"),
        (changed(confidence=1.5), "malformed"),
        (changed(captured_at="yesterday"), "malformed"),
        (changed(captured_at="2026-01-02T03:04:05"), "malformed"),
        (changed(label=["red"]), "malformed"),
        (changed(site="plant"), "identity"),
        (changed(node="b"), "identity"),
        (changed(label="a\0b"), "text"),
        (changed(id="a\0b"), "text"),
        (changed(label="x" * (LONGEST + 1)), "text"),
        (changed(id="x" * (LONGEST + 1)), "text"),
        (changed(sample="x" * LARGEST), "oversize"),
        (GOOD.replace(b"red", b"r\xffd"), "malformed"),
        (b'{"seq":5,"stream":7}', "malformed"),
    ],
)
def test_refused_with_a_number_is_kept_as_it_is(payload: bytes, reason: str) -> None:
    arrival = read(HERE, payload, "2")
    assert arrival.refused
    assert arrival.refused.reason == reason
    assert (arrival.stream, arrival.seq, arrival.floor) == (Stream("lab", "a", 7), 5, 2)
    assert arrival.row == {"reason": reason, "payload": payload[:LARGEST]}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"null", "malformed"),
        (b"[" * 100_000, "oversize"),
        (b"[" * 60_000, "malformed"),
        (b'{"seq":5,"x":' + b"[" * 60_000, "malformed"),
        (GOOD[:-1], "malformed"),
        (changed(label="red").replace(b"red", rb"\ud800"), "malformed"),
        (changed(seq=2**63), "range"),
        (changed(seq=2**200), "range"),
        (changed(seq=-1), "malformed"),
        (changed(stream=2**64 - 1), "range"),
        (changed(seq=1.5), "malformed"),
        (b'{"seq":1e400,"stream":7}', "malformed"),
    ],
)
def test_refused_without_a_number(payload: bytes, reason: str) -> None:
    assert refusal(HERE, payload) == reason


@pytest.mark.parametrize("names", [["lab"], ["lab", "a", "b"], ["lab", "a b"], ["", ""], ["+", "#"]])
def test_a_topic_that_is_no_node(names: list[str]) -> None:
    assert refusal(names, GOOD) == "topic"


@pytest.mark.parametrize("floor", ["-1", "x", "1.5", str(2**63), "9" * 5000])
def test_a_floor_that_is_none(floor: str) -> None:
    assert refusal(HERE, GOOD, floor) == "floor"


def test_a_floor_above_its_own_message_says_only_that_all_before_it_is_over() -> None:
    assert read(HERE, GOOD, "999").floor == 5


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_the_ends_of_time(year: str) -> None:
    assert read(HERE, changed(captured_at=year)).refused is None


@given(st.binary(max_size=200) | st.text().map(str.encode), st.lists(st.text(), max_size=3))
def test_no_bytes_are_a_mistake_of_ours(payload: bytes, names: list[str]) -> None:
    for topic in (HERE, names):
        with pytest.raises(Refused):
            read(topic, payload, None)


@given(st.data())
def test_a_result_with_bytes_changed(data: st.DataObject) -> None:
    payload = bytearray(GOOD)
    for place, byte in data.draw(
        st.dictionaries(st.integers(0, len(GOOD) - 1), st.integers(0, 255), max_size=3)
    ).items():
        payload[place] = byte
    try:
        assert read(HERE, bytes(payload)).stream[:2] == ("lab", "a")
    except Refused:
        return
