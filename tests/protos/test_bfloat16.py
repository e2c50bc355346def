"""bfloat16, as the upper half of a float32."""

import numpy as np

from protos.bfloat16 import BF16, narrowed, widened

EVERY = np.arange(1 << 16, dtype="<u2").view(BF16)


def test_known_numbers() -> None:
    known = np.array([0x3F80, 0xC000, 0x7F80, 0x0001], "<u2").view(BF16)
    assert widened(known).tolist() == [1, -2, np.inf, 2**-133]


def test_every_number_survives_both_ways() -> None:
    assert narrowed(widened(EVERY)).tobytes() == EVERY.tobytes()


def test_numbers_between_lose_their_last_bits() -> None:
    assert widened(narrowed(np.array([1 + 2**-7 + 2**-8, -1 - 2**-8]))).tolist() == [1 + 2**-7, -1]


def test_other_arrays_stay_as_they_are() -> None:
    array = np.ones(3, np.uint16)
    assert widened(array) is array
