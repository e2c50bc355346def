"""What stands behind the devices: inference for the samples they defer."""

import os

# gRPC hands what comes off a socket through a pool of threads of its own unless told not to before it is
# imported: without it a call takes fewer changes of threads, and less time (docs/reports/bench-cloud.md).
# Of a server only: a client so told, with no call under way, takes seconds to see that a server is back.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
