"""MLServer's own command for many requests from a file: ``mlserver infer``, over HTTP."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import checks
import numpy as np
from checks import check, same


def asked(model: str, *requests: dict[str, Any], binary: bool = False) -> list[Any]:
    with TemporaryDirectory() as folder:
        given, answers = Path(folder) / "requests", Path(folder) / "answers"
        given.write_text("".join(json.dumps(it) + "\n" for it in requests))
        command: list[Any] = [
            Path(sys.executable).with_name("mlserver"),
            "infer",
            "-u",
            checks.address(),
            "-m",
            model,
        ]
        files = ["-i", given, "-o", answers, *(["-b"] if binary else [])]
        ended = subprocess.run(list(map(str, command + files)), capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(ended.stderr)
        return [json.loads(line) for line in answers.read_text().splitlines()]


def row(factor: float, width: int = 3, **more: Any) -> dict[str, Any]:
    x = {"name": "x", "shape": [1, width], "datatype": "FP32", "data": (factor * np.ones(width)).tolist()}
    return {"inputs": [x], **more}


@cache
def many() -> list[Any]:
    return asked("cloud", *(row(number, id=str(number)) for number in range(16)), row(1, width=4))


@check(5)
def infer() -> None:
    (answer,) = asked("cloud", row(1), binary=True)
    same(answer["outputs"][0]["data"], [10.0] * 3)


@check(6)
def infer_json() -> None:
    assert all(len(it["outputs"]) == 1 for it in many()[:16])


@check(12)
def request_id() -> None:
    same(sorted(int(it["id"]) for it in many()[:16]), list(range(16)))


@check(14)
def together() -> None:
    for answer in many()[:16]:
        same(answer["outputs"][0]["data"], [10.0 * int(answer["id"])] * 3)


@check(18)
def refusal() -> None:
    assert "shape [1, 4]" in json.dumps(many()[16])


checks.main()
