"""A gRPC server that does nothing: what no Python server can be faster than. ``python -m ...echo PORT``."""

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
import numpy as np

from protos import codec
from protos import inference_pb2 as pb

ANSWER = codec.response("echo", "1", "", {"logits": np.zeros((1, 10), np.float32)}).SerializeToString()
FRAMED = pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse.FromString(ANSWER))
READY = pb.ModelReadyResponse(ready=True).SerializeToString()


def _says(response: bytes) -> "grpc.RpcMethodHandler[bytes, bytes]":
    async def say(_request: bytes, _context: object) -> bytes:
        return response

    return grpc.unary_unary_rpc_method_handler(say)


async def _stream(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
    framed = FRAMED.SerializeToString()
    async for _ in requests:
        yield framed


async def main() -> None:
    """Answer until the process is ended."""
    server = grpc.aio.server()
    handlers = {
        "ModelInfer": _says(ANSWER),
        "ModelReady": _says(READY),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(_stream),
    }
    name = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
