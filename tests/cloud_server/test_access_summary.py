"""What ``check`` says of who may call, and whether what the documentation shows are settings."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud_server import config
from cloud_server.access.summary import lines
from tests.cloud_server.pems import Pems
from tests.cloud_server.process import finished, started

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


@pytest.fixture(params=[(-2, -1, "EXPIRED on {1:%Y-%m-%d}"), (1, 2, "NOT GOOD before {0:%Y-%m-%d}")])
def unfit(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[dict[str, str], str]:
    """``[tls]`` with a certificate that is good no more, or not yet; and what is said of it."""
    *days, said = request.param
    begins, expires = (datetime.now(UTC) + timedelta(days=count) for count in days)
    cert, key = Pems.made(tmp_path).issue("server", begins=begins, expires=expires)
    return {"TIDEGATE_TLS__CERT": str(cert), "TIDEGATE_TLS__KEY": str(key)}, said.format(begins, expires)


def test_check_fails_by_a_certificate_that_no_client_takes(
    unfit: tuple[dict[str, str], str], models: dict[str, Path]
) -> None:
    settings, said = unfit
    ended = finished(["check", models["plain"], "--port", "0"], TIDEGATE_METRICS__PORT="0", **settings)
    cert = settings["TIDEGATE_TLS__CERT"]
    assert ended.returncode == 2
    assert f"would show the certificate {cert}, {said}" in ended.stdout
    (line,) = ended.stderr.splitlines()
    assert re.fullmatch(rf"cloud-server: \[tls\] {cert}: {said} .* UTC, and clients refuse it.*: .*", line)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_starts_with_it_and_warns(
    tmp_path: Path, unfit: tuple[dict[str, str], str], models: dict[str, Path], workers: str
) -> None:
    """For it may be replaced while the server runs."""
    settings, said = unfit
    with started(tmp_path, models["plain"], TIDEGATE_SERVER__WORKERS=workers, **settings) as process:
        assert process.ready.startswith("cloud-server ready on ")
        logged = process.log.read_text()
    assert re.search(rf"WARNING .*\[tls\] {settings['TIDEGATE_TLS__CERT']}: {said}", logged)


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
