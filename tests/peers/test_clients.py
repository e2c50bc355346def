"""Real clients make every call that they have, and the docs say which."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import interoperability
from tests.peers.clients.checks import CALLS
from tests.peers.interoperability import CLIENTS, PATIENCE, SCRIPTS, Stand, documented, made, stand
from tests.services import require

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with stand(tmp_path_factory.mktemp("stand")) as opened:
        yield opened


@pytest.mark.parametrize("client", CLIENTS)
def test_every_call_that_a_client_has_goes_well(opened: Stand, client: str) -> None:
    found = made(client, opened)
    assert {call: problem for call, problem in found.items() if problem} == {}
    assert found.keys() == documented(client), "run python -m tests.peers.interoperability"


def test_every_call_of_the_list_is_made_by_some_client() -> None:
    assert set(CALLS) == set().union(*map(documented, CLIENTS))


def test_a_call_that_goes_wrong_is_seen(opened: Stand) -> None:
    """The control: the list itself, with a server that is not there."""
    absent = Stand("127.0.0.1:1", "127.0.0.1:1", opened.jpeg)
    assert all(made("triton_aio", absent).values())


def test_our_stubs_live_beside_mlservers() -> None:
    command = [require("mlserver"), SCRIPTS / "beside_mlserver.py", ROOT]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_table_has_a_column_for_each_client() -> None:
    found = interoperability.table({client: dict.fromkeys(CALLS, "") for client in CLIENTS})
    assert found.splitlines()[0] in interoperability.DOCS.read_text()
