"""What can be wrong with a model, a recipe or its functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

from edge_node.prepare.errors import PrepareError


class QatError(PrepareError):
    """Quantisation-aware training that cannot go on: says what is wrong, and what to do."""


@contextmanager
def blaming(who: str) -> Iterator[None]:
    """Say in one line what code of the user raised, and where."""
    try:
        yield
    except QatError:
        raise
    except Exception as error:
        frames = extract_tb(error.__traceback__)
        frame = next((it for it in reversed(frames) if "torch" not in Path(it.filename).parts), frames[-1])
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
        raise QatError(f"{who}: {type(error).__name__}: {first_line(error)} ({place})") from error


def first_line(error: BaseException) -> str:
    """The first line of a message, which may be long."""
    return next(iter(str(error).strip().splitlines()), "no message")
