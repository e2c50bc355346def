"""Triton's asynchronous client over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import checks
import numpy as np
from checks import check, refused, same
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException


def opened() -> Any:
    return InferenceServerClient(checks.target())


def given(name: str, array: np.ndarray, datatype: str = "FP32") -> Any:
    return InferInput(name, array.shape, datatype).set_data_from_numpy(array)


async def asked(model: str, *inputs: Any, **more: Any) -> Any:
    async with opened() as client:
        return await client.infer(model, list(inputs), **more)


@check(1)
async def health() -> None:
    async with opened() as client:
        same([await client.is_server_live(), await client.is_server_ready()], [True, True])


@check(2)
async def ready() -> None:
    async with opened() as client:
        same([await client.is_model_ready(it) for it in ("cloud", "absent")], [True, False])


@check(3)
async def server() -> None:
    async with opened() as client:
        same((await client.get_server_metadata()).name, "tidegate")


@check(4)
async def metadata() -> None:
    async with opened() as client:
        found = await client.get_model_metadata("cloud")
    same([found.inputs[0].name, found.inputs[0].datatype], ["x", "FP32"])


@check(5)
async def infer() -> None:
    same((await asked("cloud", given("x", checks.ROWS))).as_numpy("logits"), 10 * checks.ROWS)


@check(7)
async def outputs() -> None:
    one = np.ones(2, np.float32)
    answer = await asked(
        "arithmetic", given("a", one), given("b", one), outputs=[InferRequestedOutput("sum")]
    )
    same(answer.as_numpy("sum"), one + one)
    same(len(answer.get_response().outputs), 1)


@check(8)
async def text() -> None:
    same((await asked("text", given("x", checks.TEXT, "BYTES"))).as_numpy("y"), checks.TEXT)


@check(9)
async def image() -> None:
    answer = await asked("colour", given("x", checks.jpeg(), "BYTES"))
    same(answer.as_numpy("logits").round(-1), checks.GREEN)


@check(10)
async def half() -> None:
    same((await asked("half", given("x", checks.HALVES, "FP16"))).as_numpy("y"), checks.HALVES)


@check(11)
async def classes() -> None:
    wanted = [InferRequestedOutput("logits", class_count=1)]
    answer = (await asked("cloud", given("x", checks.ROWS), outputs=wanted)).as_numpy("logits")
    same([it.decode().rpartition(":")[2] for it in answer.ravel()], ["red", "green", "blue"])


@check(12)
async def request_id() -> None:
    same((await asked("cloud", given("x", checks.ROWS), request_id="seven")).get_response().id, "seven")


@check(13)
async def schedule() -> None:
    answer = await asked("cloud", given("x", checks.ROWS), priority=1, timeout=10_000_000)
    same(answer.as_numpy("logits"), 10 * checks.ROWS)


@check(14)
async def together() -> None:
    async with opened() as client:
        calls = (client.infer("cloud", [given("x", number * checks.ROWS)]) for number in range(16))
        answers = await asyncio.gather(*calls)
    for number, answer in enumerate(answers):
        same(answer.as_numpy("logits"), number * 10 * checks.ROWS)


@check(15)
async def stream() -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(16):
            yield {
                "model_name": "cloud",
                "inputs": [given("x", number * checks.ROWS)],
                "request_id": str(number),
            }

    async with opened() as client:
        async for answer, error in client.stream_infer(requests()):
            assert error is None
            same(answer.as_numpy("logits"), int(answer.get_response().id) * 10 * checks.ROWS)


@check(16)
async def statistics() -> None:
    async with opened() as client:
        (found,) = (await client.get_inference_statistics("cloud")).model_stats
    assert found.inference_count > 0


@check(17)
async def repository() -> None:
    async with opened() as client:
        for call, there in ((client.unload_model, False), (client.load_model, True)):
            await call("net")
            found = (await client.get_model_repository_index()).models
            same("net" in {it.name for it in found if it.state == "READY"}, there)


@check(18)
async def refusal() -> None:
    with refused(InferenceServerException):
        await asked("cloud", given("x", np.zeros((1, 4), np.float32)))


checks.main()
