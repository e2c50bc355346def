"""The independent client's asynchronous variant: single calls side by side, and a stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from cloud_server.server import Running

triton = pytest.importorskip("tritonclient.grpc")
aio = pytest.importorskip("tritonclient.grpc.aio")

ROW = np.ones((1, 3), np.float32)


def given(factor: int) -> Any:
    return triton.InferInput("x", [1, 3], "FP32").set_data_from_numpy(factor * ROW)


def test_calls_side_by_side_each_get_their_own_answer(running: Running) -> None:
    async def ask() -> list[Any]:
        async with aio.InferenceServerClient(running.address) as client:
            return await asyncio.gather(*(client.infer("cloud", [given(n)]) for n in range(16)))

    answers = asyncio.run(ask())
    assert [answer.as_numpy("logits")[0, 0] for answer in answers] == [10 * n for n in range(16)]


def test_a_stream(running: Running) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for n in range(8):
            yield {"model_name": "cloud", "inputs": [given(n)], "request_id": str(n)}

    async def ask() -> list[Any]:
        async with aio.InferenceServerClient(running.address) as client:
            return [answer async for answer in client.stream_infer(requests())]

    answers = asyncio.run(ask())
    assert all(error is None for _, error in answers)
    assert [result.get_response().id for result, _ in answers] == [str(n) for n in range(8)]
    assert [result.as_numpy("logits")[0, 0] for result, _ in answers] == [10 * n for n in range(8)]
