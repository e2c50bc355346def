"""For MLServer: a runtime for ONNX files, since PyPI has none."""

import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.settings.parameters.extra["threads"]
        self._session = ort.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feed = {it.name: NumpyCodec.decode_input(it) for it in payload.inputs}
        names = [it.name for it in self._session.get_outputs()]
        outputs = [
            NumpyCodec.encode_output(*it) for it in zip(names, self._session.run(None, feed), strict=True)
        ]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
