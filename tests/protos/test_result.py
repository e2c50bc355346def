"""A result on the wire: valid against the schema that ships, and read back as it was."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from protos import result as contract
from protos.result import Answer, Latency, Model, Reason, Result, decode, encode, schema

SHIPPED = Path(contract.__file__).with_name("result.schema.json")
VALIDATOR = jsonschema.Draft202012Validator(schema())

Change = Callable[[dict[str, Any]], object]


def result(**changes: Any) -> Result:
    """What a confident edge says."""
    confident = Result(
        id="lab.a.1.0",
        site="lab",
        node="a",
        seq=0,
        sample="x.jpg",
        captured_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        route="edge",
        reason=Reason.CONFIDENT,
        label="red",
        class_index=0,
        confidence=0.9,
        edge=Answer(label="red", confidence=0.9),
        cloud=None,
        model=Model(name="m", version="1", precision="int8", sha256="0" * 64),
        latency_ms=Latency(edge=1.5, cloud=None, total=2.0),
    )
    return msgspec.structs.replace(confident, **changes)


UNREADABLE = {"label": None, "class_index": None, "confidence": None, "edge": None}


def test_the_schema_that_ships_is_the_one_the_code_has() -> None:
    assert msgspec.json.decode(SHIPPED.read_bytes()) == schema(), "python -m protos.result > that file"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("reason", Reason)
def test_a_result_of_every_reason_is_valid_and_comes_back(reason: Reason) -> None:
    sent = result(reason=reason, **(UNREADABLE if reason is Reason.INVALID_SAMPLE else {}))
    VALIDATOR.validate(msgspec.json.decode(encode(sent)))
    assert decode(encode(sent)) == sent


def test_a_result_is_one_line_with_every_field() -> None:
    sent = encode(result())
    assert b"\n" not in sent
    assert set(msgspec.json.decode(sent)) == set(schema()["$defs"]["Result"]["properties"])


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.pop("label"),
        lambda it: it.update(extra=1),
        lambda it: it.update(reason="tired"),
        lambda it: it.update(confidence=1.1),
        lambda it: it.update(seq=-1),
        lambda it: it.update(node="a/b"),
        lambda it: it["model"].update(sha256="short"),
        lambda it: it["latency_ms"].update(total=-1),
        lambda it: it.update(schema="tidegate.result/2"),
    ],
)
def test_what_is_no_result_fails_the_schema(change: Change) -> None:
    body = msgspec.json.decode(encode(result()))
    change(body)
    assert not VALIDATOR.is_valid(body)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"\xff", b'{"schema": "tidegate.result/1"}'])
def test_what_is_no_result_is_not_decoded(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(payload)
