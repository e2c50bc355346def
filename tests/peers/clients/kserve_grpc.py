"""KServe's client over gRPC."""

import asyncio
from typing import Any

import checks
import grpc
import numpy as np
from checks import check, refused, same
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput


def opened() -> Any:
    return InferenceGRPCClient(checks.target())


def given(name: str, array: np.ndarray, datatype: str = "FP32", *, binary: bool = True) -> Any:
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


async def asked(model: str, *inputs: Any, **more: Any) -> Any:
    async with opened() as client:
        return await client.infer(InferRequest(model, list(inputs), **more))


def output(answer: Any, name: str = "logits") -> Any:
    return answer.get_output_by_name(name).as_numpy()


@check(1)
async def health() -> None:
    async with opened() as client:
        same([await client.is_server_live(), await client.is_server_ready()], [True, True])


@check(2)
async def ready() -> None:
    async with opened() as client:
        same([await client.is_model_ready(it) for it in ("cloud", "absent")], [True, False])


@check(5)
async def infer() -> None:
    same(output(await asked("cloud", given("x", checks.ROWS))), 10 * checks.ROWS)


@check(6)
async def infer_typed() -> None:
    same(output(await asked("cloud", given("x", checks.ROWS, binary=False))), 10 * checks.ROWS)


@check(7)
async def outputs() -> None:
    one = np.ones(2, np.float32)
    wanted = [RequestedOutput("sum")]
    answer = await asked("arithmetic", given("a", one), given("b", one), request_outputs=wanted)
    same(output(answer, "sum"), one + one)
    same(len(answer.outputs), 1)


@check(8)
async def text() -> None:
    same(output(await asked("text", given("x", checks.TEXT, "BYTES")), "y"), checks.TEXT)


@check(9)
async def image() -> None:
    same(output(await asked("colour", given("x", checks.jpeg(), "BYTES"))).round(-1), checks.GREEN)


@check(10)
async def half() -> None:
    same(output(await asked("half", given("x", checks.HALVES, "FP16")), "y"), checks.HALVES)


@check(11)
async def classes() -> None:
    wanted = [RequestedOutput("logits", {"classification": 1})]
    answer = output(await asked("cloud", given("x", checks.ROWS), request_outputs=wanted))
    same([bytes(it).decode().rpartition(":")[2] for it in answer.ravel()], ["red", "green", "blue"])


@check(12)
async def request_id() -> None:
    same((await asked("cloud", given("x", checks.ROWS), request_id="seven")).id, "seven")


@check(13)
async def schedule() -> None:
    said = {"priority": 1, "timeout": 10_000_000}
    same(output(await asked("cloud", given("x", checks.ROWS), parameters=said)), 10 * checks.ROWS)


@check(14)
async def together() -> None:
    async with opened() as client:
        requests = (InferRequest("cloud", [given("x", number * checks.ROWS)]) for number in range(16))
        answers = await asyncio.gather(*map(client.infer, requests))
    for number, answer in enumerate(answers):
        same(output(answer), number * 10 * checks.ROWS)


@check(18)
async def refusal() -> None:
    with refused(grpc.RpcError):
        await asked("cloud", given("x", np.zeros((1, 4), np.float32)))


checks.main()
