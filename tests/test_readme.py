"""The README says what is true now."""

import re
import subprocess
from pathlib import Path

from tests import reference

ROOT = Path(__file__).parents[1]


def test_tables_are_those_of_the_code() -> None:
    text = reference.README.read_text()
    assert text == reference.render(text), "run `make generated`"


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", reference.README.read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_make_targets_named_exist() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", reference.README.read_text(), re.MULTILINE))
    unknown = [
        target
        for target in sorted(named)
        if subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False).returncode
    ]
    assert named
    assert not unknown
