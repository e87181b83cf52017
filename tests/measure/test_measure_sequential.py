"""Slices that arrive in other portions than a file takes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tomostain.measure.sequential import SequentialWriter


class Recorder:
    """Stands for an OME-Zarr writer."""

    def __init__(self, depth, z_chunk):
        self.chunks = [(start, min(start + z_chunk, depth)) for start in range(0, depth, z_chunk)]
        self.written, self.is_finished = [], False

    def z_chunks(self):
        return self.chunks

    def write(self, start, values):
        self.written.append((start, values))

    def finish(self):
        self.is_finished = True


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 12))
def test_every_slice_is_written_once_in_the_z_chunks_of_the_file(portions, z_chunk):
    depth = sum(portions)
    values = np.arange(depth)[:, None, None] * np.ones((1, 2, 2), int)
    recorder = Recorder(depth, z_chunk)
    out, start = SequentialWriter(recorder), 0
    for portion in portions:
        out(start, values[start : start + portion])
        start += portion
    out.finish()
    assert recorder.is_finished
    assert [(first, first + len(slices)) for first, slices in recorder.written] == recorder.chunks
    np.testing.assert_array_equal(np.concatenate([slices for _, slices in recorder.written]), values)


def test_slices_out_of_order_or_missing_are_refused():
    out = SequentialWriter(Recorder(6, 4))
    out(0, np.zeros((2, 1, 1)))
    with pytest.raises(ValueError, match="slices from 3 on arrived after those up to 2"):
        out(3, np.zeros((2, 1, 1)))
    with pytest.raises(ValueError, match="slices from 2 on are missing"):
        out.finish()
