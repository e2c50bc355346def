"""How far a stream has come, against a model that remembers every number."""

from hypothesis import example, given
from hypothesis import strategies as st

from cloud_server.fleet.progress import AHEAD, Progress, Range, without

NUMBERS = st.integers(0, 40)
BATCHES = st.lists(st.tuples(st.lists(NUMBERS, max_size=6), NUMBERS), max_size=12)


class Model:
    """All that has come, and all that is missing for ever, one by one."""

    def __init__(self) -> None:
        self.come: set[int] = set()
        self.missing: set[int] = set()

    def advance(self, numbers: list[int], floor: int) -> None:
        self.come |= set(numbers)
        self.missing |= set(range(floor)) - self.come

    @property
    def upto(self) -> int:
        return next(number for number in range(1000) if number not in self.come | self.missing) - 1


def numbers_of(ranges: list[Range]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(BATCHES)
@example([([1, 1, 0], 0)])
@example([([5], 5)])
def test_whatever_comes_in_whatever_order(batches: list[tuple[list[int], int]]) -> None:
    model, progress, missing = Model(), Progress(), set[int]()
    for numbers, floor in batches:
        model.advance(numbers, floor)
        progress, holes = progress.advance(numbers, floor)
        assert not missing & numbers_of(holes), "each is reported once"
        missing |= numbers_of(holes)
        assert progress.upto == model.upto
        assert numbers_of(list(progress.ahead)) == {it for it in model.come if it > model.upto}
        assert missing == model.missing


@given(BATCHES)
def test_it_never_goes_back(batches: list[tuple[list[int], int]]) -> None:
    progress = Progress()
    for numbers, floor in batches:
        after, _ = progress.advance(numbers, floor)
        assert after.upto >= progress.upto
        progress = after


def test_a_node_that_leaves_gaps_everywhere_takes_bounded_room() -> None:
    sparse, _ = Progress().advance(range(1, 10 * AHEAD, 2))
    assert len(sparse.ahead) == AHEAD
    closed, _ = sparse.advance(range(0, 10 * AHEAD, 2))
    assert closed.upto == 2 * AHEAD, "what was forgotten has to come again"
    again, _ = closed.advance(range(1, 10 * AHEAD, 2))
    whole, _ = again.advance(range(0, 10 * AHEAD, 2))
    assert whole.upto > closed.upto


@given(st.tuples(NUMBERS, NUMBERS).map(sorted), st.lists(NUMBERS))
def test_what_is_left_of_a_gap(gap: list[int], numbers: list[int]) -> None:
    first, last = gap
    left = list(without((first, last), numbers))
    assert numbers_of(left) == set(range(first, last + 1)) - set(numbers)
    assert all(a <= b for a, b in left)
