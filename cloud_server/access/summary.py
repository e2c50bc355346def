"""What the settings say of who may call, for people."""

import time
from collections.abc import Iterator
from math import isnan
from pathlib import Path

from cloud_server.access.certificates import moment
from cloud_server.access.rights import ANY
from cloud_server.config import Access, CloudConfig
from protos.expiry import validity


def lines(config: CloudConfig) -> Iterator[str]:
    """A sentence each, each after "would"."""
    tls, tokens = config.tls, config.tokens
    if tls is None:
        yield "speak plaintext"
    else:
        yield f"show the certificate {tls.cert}, {_until(tls.cert)}; files that are replaced are read anew"
    if tls and tls.client_ca:
        yield f"let in who has a certificate from {tls.client_ca}, {_until(tls.client_ca)}"
    if tokens:
        who = "ask for" if tls and tls.client_ca else "let in who has"
        signed = f"signed by {tokens.algorithm} with the key of {tokens.key}"
        yield f"{who} a token for {tokens.audience!r}, {signed}, good for {tokens.lifetime:g} s at most"
    named = bool(tokens or (tls and tls.client_ca))
    if not named:
        yield "let in whoever reaches it"
    yield from _access(config.access)
    if config.access.rate:
        yield _rate(config, "each caller" if named else "all callers together")
    if config.access.proxy:
        yield f"believe {config.access.proxy} whom it calls for"


def _access(access: Access) -> Iterator[str]:
    for name, models in sorted(access.models.items(), key=lambda it: (it[0] == ANY, it[0])):
        who = "everyone else" if name == ANY else name
        yield f"let {who} use {_listed(models) if ANY not in models else 'every model'}"
    if access.models and ANY not in access.models:
        yield "let everyone else use no model"
    if access.control:
        yield f"let {_listed(access.control)} load and unload models"


def _rate(config: CloudConfig, who: str) -> str:
    workers = config.server.workers
    each = f", in each of {workers} workers" if workers > 1 else ""
    return f"answer {who} {config.access.rate:g} times a second{each}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "no model"


def _until(path: Path) -> str:
    begin, end = validity(path)
    if isnan(end):
        return "of which no end can be read"
    if begin > time.time():
        return f"NOT GOOD before {moment(begin)}"
    return f"{'good until' if end > time.time() else 'EXPIRED on'} {moment(end)}"
