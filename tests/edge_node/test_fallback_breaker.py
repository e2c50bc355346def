"""The circuit breaker, over every transition: random histories by a clock of our own, and a table by hand."""

import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_node.fallback.breaker import FIRST_PAUSE, LONGEST_PAUSE, Breaker, State


class Clock:
    """A clock that is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ended(breaker: Breaker, *good: bool) -> None:
    """Calls that are admitted and end so."""
    for each in good:
        permit = breaker.admit()
        assert permit is not None
        (breaker.succeeded if each else breaker.failed)(permit)


class History(RuleBasedStateMachine):
    """Whatever happens, the breaker agrees with its specification, written down a second time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(self.clock)
        self.state, self.ends, self.trials = State.CLOSED, list[tuple[float, bool]](), 0
        self.mine, self.stale, self.turns = list[int](), list[int](), 0

    def turn(self, state: State) -> None:
        self.state, self.ends, self.trials = state, [], 0
        self.stale += self.mine
        self.mine = []
        self.turns += 1

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def asks(self) -> None:
        permit = self.breaker.admit()
        expected = self.state is State.CLOSED or (self.state is State.HALF_OPEN and not self.mine)
        assert (permit is not None) == expected
        if permit is not None:
            assert self.breaker.valid(permit)
            self.mine.append(permit)

    @precondition(lambda self: self.mine)
    @rule(good=st.booleans())
    def ends_call(self, *, good: bool) -> None:
        permit = self.mine.pop()
        self.ends = [*self.ends, (self.clock.now, good)][-20:]
        turned = (self.breaker.succeeded if good else self.breaker.failed)(permit)
        before = self.turns
        if self.state is State.HALF_OPEN:
            self.trials += good
            if not good or self.trials == 2:
                self.turn(State.CLOSED if good else State.OPEN)
        elif not good:
            recent = [each for at, each in self.ends if self.clock.now - at < 10]
            if len(recent) >= 5 and 2 * recent.count(False) >= len(recent):
                self.turn(State.OPEN)
        assert turned == (self.turns > before)

    @precondition(lambda self: self.mine)
    @rule()
    def gives_back(self) -> None:
        self.breaker.unused(self.mine.pop())

    @precondition(lambda self: self.stale)
    @rule(end=st.sampled_from(["succeeded", "failed", "unused"]))
    def ends_late(self, end: str) -> None:
        permit = self.stale.pop()
        assert not self.breaker.valid(permit)
        assert not getattr(self.breaker, end)(permit)

    @rule()
    def looks_in_vain(self) -> None:
        self.breaker.lost()
        if self.state is not State.OPEN:
            self.turn(State.OPEN)

    @rule()
    def looks_and_sees(self) -> None:
        self.breaker.seen()
        if self.state is State.OPEN:
            self.turn(State.HALF_OPEN)

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.state is self.state


History.TestCase.settings = examples(max_examples=200, stateful_step_count=60, deadline=None)
TestHistory = History.TestCase


@pytest.mark.parametrize(
    ("calls", "state"),
    [
        ([False] * 4, State.CLOSED),
        ([False] * 5, State.OPEN),
        ([True] * 3 + [False] * 2, State.CLOSED),
        ([True] * 2 + [False] * 3, State.OPEN),
        ([True] * 20 + [False] * 9, State.CLOSED),
        ([True] * 20 + [False] * 10, State.OPEN),
    ],
)
def test_half_of_the_last_calls_and_no_fewer_than_five(calls: list[bool], state: State) -> None:
    breaker = Breaker(Clock())
    ended(breaker, *calls)
    assert breaker.state is state


@pytest.mark.parametrize(("pause", "state"), [(1.0, State.OPEN), (11.0, State.CLOSED)])
def test_what_is_long_ago_does_not_count(pause: float, state: State) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    ended(breaker, *[False] * 4)
    clock.now += pause
    ended(breaker, *[False])
    assert breaker.state is state


def test_a_circuit_closes_by_two_good_trials_one_at_a_time() -> None:
    breaker = Breaker(Clock())
    breaker.lost()
    assert breaker.admit() is None
    breaker.seen()
    permit = breaker.admit()
    assert permit is not None
    assert breaker.admit() is None, "one at a time"
    assert not breaker.succeeded(permit)
    permit = breaker.admit()
    assert permit is not None
    assert breaker.succeeded(permit)
    assert breaker.state is State.CLOSED


def test_a_bad_trial_opens_it_again_and_the_pauses_grow() -> None:
    breaker = Breaker(Clock())
    longest = []
    for _ in range(8):
        breaker.lost()
        longest.append(max(breaker.pause(0) for _ in range(500)))
        breaker.seen()
        ended(breaker, *[False])
        assert breaker.state is State.OPEN
        breaker.seen()
    bounds = [min(LONGEST_PAUSE, FIRST_PAUSE * 2**k) for k in (0, 2, 4, 6, 8, 10, 12, 14)]
    assert all(0.9 * bound < pause <= bound for pause, bound in zip(longest, bounds, strict=True))


def test_pauses_are_spread_over_all_their_length() -> None:
    breaker = Breaker(Clock())
    pauses = [breaker.pause(10) for _ in range(2000)]
    assert min(pauses) < 0.05 * LONGEST_PAUSE
    assert 0.95 * LONGEST_PAUSE < max(pauses) <= LONGEST_PAUSE


def test_a_closed_circuit_has_forgotten_how_often_it_was_open() -> None:
    breaker = Breaker(Clock())
    for _ in range(5):
        breaker.lost()
        breaker.seen()
        ended(breaker, *[False])
    breaker.seen()
    ended(breaker, *[True, True])
    assert all(breaker.pause(0) <= FIRST_PAUSE for _ in range(200))
