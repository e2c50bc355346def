"""What ``check`` says of who may call, and whether what the documentation shows are settings."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud_server import config
from cloud_server.access.summary import lines
from tests.cloud_server.pems import Pems
from tests.cloud_server.process import finished

DOCS = Path(__file__).parents[2] / "docs/cloud.md"


def test_check_says_who_may_call_and_until_when(tmp_path: Path, models: dict[str, Path]) -> None:
    tls = Pems.made(tmp_path).tls()
    access = 'models = { a = ["plain"], "*" = [] }\ncontrol = ["ops"]\nrate = 50\nproxy = "envoy"\n'
    files = "".join(f'{key} = "{path}"\n' for key, path in tls.items())
    (tmp_path / "cloud.toml").write_text(
        f'models = [{{ path = "{models["plain"]}" }}]\n[tls]\n{files}[access]\n{access}'
    )
    ended = finished(
        ["check", "--config", tmp_path / "cloud.toml", "--port", "0"], TIDEGATE_METRICS__PORT="0"
    )
    assert ended.returncode == 0, ended.stderr
    said = [line.removeprefix("would ") for line in ended.stdout.splitlines() if line.startswith("would ")]
    assert [re.sub(r"good until [-\d]+ [:\d]+ UTC", "GOOD", line) for line in said[-7:]] == [
        f"show the certificate {tls['cert']}, GOOD; files that are replaced are read anew",
        f"let in who has a certificate from {tls['client_ca']}, GOOD",
        "let a use plain",
        "let everyone else use no model",
        "let ops load and unload models",
        "answer each caller 50 times a second",
        "believe envoy whom it calls for",
    ]


def test_an_expired_certificate_is_called_that(tmp_path: Path) -> None:
    pems = Pems.made(tmp_path)
    cert, key = pems.issue("late", expires=datetime.now(UTC) - timedelta(days=1))
    settings = config.load(None, {"tls.cert": str(cert), "tls.key": str(key)})
    assert "EXPIRED on" in next(lines(settings))


def test_nobody_is_asked_who_they_are() -> None:
    assert list(lines(config.load(None))) == ["speak plaintext", "let in whoever reaches it"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "answer all callers together 5 times a second"),
        ({"tokens.key": "issuer.pem"}, "answer each caller 5 times a second"),
        ({"server.workers": 2}, "answer all callers together 5 times a second, in each of 2 workers"),
    ],
)
def test_whose_the_rate_is(settings: dict[str, object], said: str) -> None:
    assert list(lines(config.load(None, {"access.rate": 5, **settings})))[-1] == said


@pytest.mark.parametrize("number", range(3))
def test_what_the_documentation_shows_are_settings(tmp_path: Path, number: int) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "cloud.toml").write_text(blocks[number])
    assert list(lines(config.load(tmp_path / "cloud.toml")))
