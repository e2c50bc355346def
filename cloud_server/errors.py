"""What can go wrong, and who hears of it.

::

    CloudError
    ├─ StartError            the server does not start: one line, exit code 2
    │  ├─ ModelError         a model that cannot be served; FAILED_PRECONDITION to who asked for it
    │  ├─ ListenError        an address that cannot, or must not, be listened on
    │  ├─ CertificateError   a certificate, key or authority that cannot be used
    │  ├─ TokenKeyError      a file by which tokens cannot be verified
    │  ├─ SecretError        a file of the fleet's that holds no password or certificate
    │  └─ DatabaseError      a database that cannot be used
    └─ RequestError          one call is refused, with a status and the reason
       ├─ Unauthenticated    UNAUTHENTICATED
       ├─ Forbidden          PERMISSION_DENIED
       ├─ UnknownModel       NOT_FOUND
       ├─ BadInput           INVALID_ARGUMENT
       │  └─ TooLarge        the same; 413 over HTTP
       ├─ Expired            DEADLINE_EXCEEDED
       ├─ Gone               CANCELLED
       ├─ Overloaded         RESOURCE_EXHAUSTED
       │  └─ Full            the same; 503 over HTTP
       │     └─ Late
       ├─ Stopping           UNAVAILABLE
       └─ NotOffered         UNIMPLEMENTED
    protos: SettingsError, ArtifactError, NoPillow           as a StartError
    protos: CodecError, ImageError, protobuf's DecodeError   INVALID_ARGUMENT

Anything else is a mistake of ours: INTERNAL to the caller, the traceback into the log.
"""

from pathlib import Path


class CloudError(Exception):
    """Base of all that the cloud server raises on purpose."""


class StartError(CloudError):
    """The server cannot start; the message is for its operator."""


class ModelError(StartError):
    """A file or folder that cannot be served as a model."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"model {path}: {problem}")
        self.problem = problem


class ListenError(StartError):
    """An address that cannot, or must not, be listened on."""

    def __init__(self, section: str, address: str, problem: str) -> None:
        super().__init__(f"[{section}] {address}: {problem}")


class CertificateError(StartError):
    """PEM files that cannot be used."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"[tls] {path}: {problem}")


class TokenKeyError(StartError):
    """A file that holds no key for tokens."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"[tokens] {path}: {problem}")


class SecretError(StartError):
    """A password, or a PEM file for the connection to the broker, that cannot be used."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"[fleet] {path}: {problem}")


class DatabaseError(StartError):
    """A database that cannot be used."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"[fleet] database: {problem}")


class RequestError(CloudError):
    """A call that is refused; the message is for its caller."""


class Unauthenticated(RequestError):
    """Nobody knows who calls; ``reason`` is for the metric."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


class Forbidden(RequestError):
    """Who calls is known, and may not do that."""


class UnknownModel(RequestError):
    """There is no model of this name and version."""


class BadInput(RequestError):
    """Tensors that are not what the model takes."""


class TooLarge(BadInput):
    """More bytes than the model can want."""

    def __init__(self, what: str, most: int) -> None:
        super().__init__(f"{what} is larger than {most} bytes")


class Expired(RequestError):
    """The time that the caller had is over before the model ran."""

    def __init__(self, problem: str = "the request's time was over before the model could run") -> None:
        super().__init__(problem)


class Gone(RequestError):
    """The caller gave up before the model ran."""

    def __init__(self) -> None:
        super().__init__("the caller gave up before the model could run")


class Overloaded(RequestError):
    """More is asked at once than can be answered."""

    def __init__(self, problem: str, pushback: float | None = None) -> None:
        """``pushback``: seconds after which to ask again."""
        super().__init__(problem)
        self.pushback = pushback


class Full(Overloaded):
    """Too many requests wait already, whoever asks."""


class Late(Full):
    """Its turn would come when its caller waits no longer."""


class Stopping(RequestError):
    """The server ends before the answer is there."""

    def __init__(self) -> None:
        super().__init__("the server stops: ask again, or another one")


class NotOffered(RequestError):
    """The protocol has it, this server has not."""
