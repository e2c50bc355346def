"""The expiry of a certificate, against what the library that made it says."""

from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path

import pytest
import trustme

from protos.expiry import expiry, validity

NOW = datetime.now(UTC).replace(microsecond=0)


def pem(folder: Path, *days: float) -> Path:
    """A file of certificates that expire in so many days."""
    path = folder / "chain.pem"
    for count in days:
        issued = trustme.CA().issue_cert("here", not_after=_in(count))
        issued.cert_chain_pems[0].write_to_path(str(path), append=True)
    return path


def _in(days: float) -> datetime:
    return NOW + timedelta(days=days)


@pytest.mark.parametrize("days", [-30, 1, 30, 365 * 60])
def test_it_is_told_to_the_second_in_either_form_of_a_date(tmp_path: Path, days: float) -> None:
    """From 2050 on ASN.1 writes dates otherwise."""
    assert expiry(pem(tmp_path, days)) == _in(days).timestamp()


def test_the_first_to_expire_of_a_chain_counts(tmp_path: Path) -> None:
    assert expiry(pem(tmp_path, 300, 20, 100)) == _in(20).timestamp()


def test_a_chain_is_good_from_when_the_last_of_it_is(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    for days in (-5, -1, -3):
        issued = trustme.CA().issue_cert("here", not_before=_in(days), not_after=_in(9))
        issued.cert_chain_pems[0].write_to_path(str(path), append=True)
    assert abs(validity(path)[0] - _in(-1).timestamp()) <= 2


def test_words_around_a_certificate_are_passed_over(tmp_path: Path) -> None:
    path = pem(tmp_path, 20)
    path.write_text(f"Subject: here\n{path.read_text()}\nthat was all\n")
    assert expiry(path) == _in(20).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no certificate",
        "-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nMIL/////////\n-----END CERTIFICATE-----",
    ],
)
def test_what_is_no_certificate_has_no_expiry(tmp_path: Path, text: str) -> None:
    (tmp_path / "it").write_text(text)
    assert isnan(expiry(tmp_path / "it"))


def test_neither_has_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert isnan(expiry(tmp_path / "absent"))
    assert isnan(expiry(None))
