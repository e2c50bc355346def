"""The contract: all that both sides must agree on, and nothing else."""

import os

# onnxruntime's wheels report their use to their maker unless told not to before they are imported.
# Every part of Tidegate imports this package first; who wants the reports sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# gRPC hands what comes off a socket through a pool of threads of its own unless told not to before it is
# imported: without it a call takes fewer changes of threads, and less time (docs/reports/bench-cloud.md).
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
