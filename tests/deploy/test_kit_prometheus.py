"""The rules of the kit: promtool's word on each, a runbook for each alert, no metric that nobody exports."""

import re
import subprocess
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.deploy import exported
from tests.services import require

ROOT = Path(__file__).parents[2]
KIT = ROOT / "deploy/prometheus"
RULES, TESTS = sorted(KIT.glob("rules/*.yml")), sorted(KIT.glob("tests/*.yml"))
RUNBOOKS = ROOT / "docs/runbooks"
SECTIONS = ["## What it means", "## Look here", "## Do this"]
NAME = re.compile(r"(?<![\w:])tidegate_\w+(?![\w:])")
RECORDED = re.compile(r"[\w:]*:[\w:]+:\w+")


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """Every rule of this kind, by name."""
    found = (rule for path in RULES for group in read(path)["groups"] for rule in group["rules"])
    return {rule[kind]: rule for rule in found if kind in rule}


def cases(kind: str) -> Iterator[dict[str, Any]]:
    """Every case of this kind of test."""
    for path in TESTS:
        for test in read(path)["tests"]:
            yield from test.get(kind, ())


def promtool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([require("promtool"), *arguments], capture_output=True, text=True, check=False)


ALERTS, RECORDS = rules("alert"), rules("record")


def test_promtool_accepts_the_rules() -> None:
    checked = promtool("check", "rules", *RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_case_holds() -> None:
    tested = promtool("test", "rules", *TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_case_of_both_kinds() -> None:
    outcomes = {(case["alertname"], bool(case["exp_alerts"])) for case in cases("alert_rule_test")}
    assert outcomes == {(name, fires) for name in ALERTS for fires in (True, False)}


def test_every_recording_rule_has_a_case() -> None:
    asked = {name for case in cases("promql_expr_test") for name in RECORDED.findall(case["expr"])}
    assert asked == set(RECORDS)


@pytest.mark.parametrize("instead", ["vector(1) > 2", "vector(1)"], ids=["never", "always"])
def test_an_alert_that_fires_never_or_always_is_found(tmp_path: Path, instead: str) -> None:
    """The control of all cases."""
    copytree(KIT, tmp_path / "kit")
    path = tmp_path / "kit/rules/alerts.yml"
    broken = read(path)
    for group in broken["groups"]:
        for rule in group["rules"]:
            rule["expr"] = instead
    text = StringIO()
    YAML(typ="safe").dump(broken, text)
    path.write_text(text.getvalue())
    tested = promtool("test", "rules", *sorted(tmp_path.glob("kit/tests/*.yml")))
    assert tested.returncode
    assert set(re.findall(r"alertname: ?(\w+)", tested.stdout + tested.stderr)) == set(ALERTS)


def test_rules_use_only_what_is_exported_or_recorded() -> None:
    expressions = [rule["expr"] for rule in (*ALERTS.values(), *RECORDS.values())]
    used = {name for expression in expressions for name in NAME.findall(expression)}
    known = exported.metrics() | set(RECORDS)
    # What a pattern of names stands for:
    used.discard("tidegate_")
    assert used - known == set()
    assert {name for expression in expressions for name in RECORDED.findall(expression)} <= set(RECORDS)
    patterns = re.findall(r'__name__=~"tidegate_\((.*?)\)"', "\n".join(expressions))
    assert patterns
    assert {f"tidegate_{name}" for pattern in patterns for name in pattern.split("|")} <= known


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_runbook(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    lines = (RUNBOOKS / f"{name}.md").read_text().splitlines()
    assert lines[0] == f"# {name}"
    assert [line for line in lines if line.startswith("## ")] == SECTIONS


def test_the_list_of_runbooks_is_complete() -> None:
    written = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    listed = re.findall(r"\[(\w+)\]\(\1\.md\)", (RUNBOOKS / "README.md").read_text())
    assert written == set(ALERTS) == set(listed)
    assert len(listed) == len(set(listed))
