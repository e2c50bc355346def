"""What a quantisation gives, and the artifact that it becomes."""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from edge_node.prepare.choice import Choice
from edge_node.prepare.data import Samples
from edge_node.prepare.errors import PrepareError
from edge_node.prepare.pack import Facts, pack
from protos.artifact import Artifact, Precision


@dataclass(frozen=True)
class Quantized:
    """The chosen variant, and all that was measured on the way to it."""

    precision: Precision
    forms: Mapping[Precision, onnx.ModelProto]
    """The chosen variant, and the best in other precisions that keeps the budget."""
    choice: Choice
    report: Mapping[str, Any]
    """The same on every run; goes into the artifact."""
    speed: Mapping[str, Any] | None
    """This machine's times; none where they say nothing of the target."""
    samples: Samples
    """Those that measured, none of which calibrated."""

    @property
    def model(self) -> onnx.ModelProto:
        """The chosen variant."""
        return self.forms[self.precision]

    def pack(self, directory: Path, facts: Facts, also: Collection[Precision] = ()) -> Artifact:
        """An artifact of the chosen variant; its precision replaces that of ``facts``.

        ``also``: precisions to send along, for the device to choose the fastest that agrees there.
        """
        with tempfile.TemporaryDirectory() as scratch:
            sent = sorted({precision for precision in also if precision != self.precision})
            folders: dict[str, Path] = {precision: Path(scratch) / "also" / precision for precision in sent}
            for precision in sent:
                self._pack(folders[precision], precision, replace(facts, variants={}), None)
            return self._pack(directory, self.precision, replace(facts, variants=folders), self.report)

    def _pack(
        self, directory: Path, precision: Precision, facts: Facts, report: Mapping[str, Any] | None
    ) -> Artifact:
        if precision not in self.forms:
            raise PrepareError(f"no {precision} variant that was tried keeps the budget: it cannot go along")
        with tempfile.TemporaryDirectory() as scratch:
            model = Path(scratch) / "model.onnx"
            model.write_bytes(self.forms[precision].SerializeToString(deterministic=True))
            known = replace(facts, precision=precision)
            return pack(directory, model, known, self.samples.inputs, report)
