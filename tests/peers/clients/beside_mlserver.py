"""Our stubs in one process with MLServer's, whichever is first: each parses what the other has written.

``beside_mlserver.py ROOT``: the folder of our own packages.
"""

import sys

sys.path.append(sys.argv[1])

from mlserver.grpc import dataplane_pb2 as theirs

from protos import inference_pb2 as ours

request = ours.ModelInferRequest(model_name="cloud", id="7", raw_input_contents=[b"1234"])
read = theirs.ModelInferRequest.FromString(request.SerializeToString())
again = ours.ModelInferRequest.FromString(read.SerializeToString())
if again != request or theirs.ModelInferRequest.DESCRIPTOR.file.pool is ours.DESCRIPTOR.pool:
    sys.exit("they are not each for itself")
