"""A result on the wire: valid against the schema that ships, and read back as it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from protos import result as contract
from protos.result import Reason, decode, encode, schema
from tests.results import result

SHIPPED = Path(contract.__file__).with_name("result.schema.json")
VALIDATOR = jsonschema.Draft202012Validator(schema())

Change = Callable[[dict[str, Any]], object]


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
