"""Servers of others, unchanged, and the few lines that each needs to run an ONNX file.

Each lives in an environment of its own (``make peers``), since what they require clashes with ours. The
files beside this one whose names end with ``_model`` or ``_server`` run there and know nothing of us.
"""
