"""Which slices a network sees at once: index arithmetic, compared with np.pad and plain slicing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tomostain.errors import InputError
from tomostain.tiling.slice_context import (
    MAX_CT_SLICES,
    SliceCount,
    clip_slices,
    middle_slices,
    repeat_ends,
    slice_contexts,
)

BESIDE = st.integers(0, 6)


@given(depth=st.integers(1, 12), context=BESIDE, data=st.data())
def test_a_piece_read_with_edges_is_a_piece_of_the_padded_volume(depth, context, data):
    first = data.draw(st.integers(0, depth - 1))
    last = data.draw(st.integers(first + 1, depth))
    volume = np.arange(depth).reshape(depth, 1, 1)
    start, stop, repeat = clip_slices(first - context, last + context, depth)
    assert 0 <= start < stop <= depth
    padded = np.pad(volume, ((context, context), (0, 0), (0, 0)), mode="edge")
    np.testing.assert_array_equal(repeat_ends(volume[start:stop], repeat), padded[first : last + 2 * context])


@given(number=st.integers(1, 9), context=BESIDE)
def test_each_context_has_its_slice_in_the_middle(number, context):
    seen = 2 * context + 1
    slices = np.random.default_rng(number).random((number + 2 * context, 2, 3))
    contexts = slice_contexts(slices, seen)
    assert len(contexts) == number
    for index, neighbours in enumerate(contexts):
        np.testing.assert_array_equal(middle_slices(neighbours, 1), slices[index + context])
        np.testing.assert_array_equal(np.squeeze(neighbours), np.squeeze(slices[index : index + seen]))


@given(context=BESIDE, expected=BESIDE)
def test_the_middle_is_taken_or_refused(context, expected):
    neighbours = np.arange(2 * context + 1)[:, None, None] * np.ones((1, 2, 2))
    if expected > context:
        with pytest.raises(
            InputError, match=f"holds {2 * context + 1} slice\\(s\\), and {2 * expected + 1} are needed"
        ):
            middle_slices(neighbours, 2 * expected + 1)
        return
    taken = middle_slices(neighbours, 2 * expected + 1)
    assert np.mean(taken) == context
    assert taken.shape == ((2 * expected + 1, 2, 2) if expected else (2, 2))


def test_arrays_that_are_not_a_slice_context_are_refused():
    with pytest.raises(InputError, match=r"here: has shape \(0, 4\)"):
        middle_slices(np.zeros((0, 4)), 1, "here")
    with pytest.raises(InputError, match="an odd number of slices"):
        middle_slices(np.zeros((2, 4, 4)), 1)
    with pytest.raises(InputError, match="has shape"):
        middle_slices(np.zeros((1, 2, 4, 4)), 1)


@pytest.mark.parametrize(
    ("number", "message"), [(2, "give an odd number"), (0, "greater"), (MAX_CT_SLICES + 2, "less")]
)
def test_a_number_of_slices_is_odd_and_small(number, message):
    assert TypeAdapter(SliceCount).validate_python(3) == 3
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(SliceCount).validate_python(number)
