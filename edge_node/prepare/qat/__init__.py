"""Quantisation-aware training: a PyTorch model learns to live with int8, and is proven to.

::

    from edge_node.prepare.qat.api import convert, prepare_qat, train

    prepared = prepare_qat(model, example_inputs)
    train(prepared, batches, step)            # or a loop of your own
    convert(prepared, Path("model.onnx"), test_inputs)
"""
