"""Runs where KServe is installed: writes each word of manifests that KServe's own types do not have.

Standard input: JSON, pairs of type and manifest; standard output: a list of words for each. Kubernetes' types
are those of its client.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import kserve.models
import kubernetes.client


def unknown(kind: str, value: Any, path: str = "") -> Iterator[str]:
    """Words below ``path`` that a value of this type cannot have."""
    if listed := re.fullmatch(r"list\[(.+)\]", kind):
        for number, item in enumerate(value):
            yield from unknown(listed[1], item, f"{path}[{number}]")
        return
    known = getattr(kserve.models, kind, None) or getattr(kubernetes.client, kind, None)
    if known is None:
        return
    words = {known.attribute_map[name]: of for name, of in known.openapi_types.items()}
    for word, inner in value.items():
        if word in words:
            yield from unknown(words[word], inner, f"{path}.{word}")
        else:
            yield f"{path}.{word}"


if __name__ == "__main__":
    json.dump([list(unknown(*pair)) for pair in json.load(sys.stdin)], sys.stdout)
