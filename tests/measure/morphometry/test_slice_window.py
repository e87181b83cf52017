"""A window of slices against the array that it is a part of."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tomostain.measure.morphometry.slice_window import SliceWindow

MOVES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), min_size=1, max_size=8)


@given(moves=MOVES)
def test_a_window_contains_the_slices_of_the_array(moves: list[tuple[int, int]]) -> None:
    array = np.random.default_rng(0).integers(0, 100, (30, 2, 3))
    window = SliceWindow((2, 3), array.dtype)
    for first, length in moves:
        for z in window.move(first, first + length):
            window[z] = array[z]
        assert np.array_equal(window.slices, array[first : first + length])
        assert all(np.array_equal(window[z], array[z]) for z in range(first, first + length))
        assert [z for z in range(30) if z in window] == list(range(first, first + length))


def test_slices_that_stay_are_not_computed_again() -> None:
    window = SliceWindow((1, 1), np.uint8)
    assert list(window.move(0, 5)) == [0, 1, 2, 3, 4]
    assert list(window.move(2, 7)) == [5, 6]
    assert list(window.move(2, 7)) == []
    assert list(window.move(10, 12)) == [10, 11]
    assert list(window.move(0, 2)) == [0, 1]
