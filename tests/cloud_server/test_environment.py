"""What gRPC is told before it is imported."""

import subprocess
import sys

CODE = """
import sys
import cloud_server
assert "grpc" not in sys.modules
import cloud_server.cli
import grpc
from concurrent.futures import ThreadPoolExecutor
server = grpc.server(ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    grpc.channel_ready_future(channel).result(20)
server.stop(None).wait()
"""


def test_grpc_knows_the_experiment_that_it_is_told_to_leave() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
