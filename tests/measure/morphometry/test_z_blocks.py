import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.measure.morphometry.components import find_components
from tomostain.measure.morphometry.z_blocks import z_blocks


@given(
    depth=st.integers(1, 40),
    overlap=st.integers(0, 6),
    slices=st.integers(1, 50),
)
def test_blocks_cover_each_slice_once_within_the_budget(depth, overlap, slices):
    budget = slices * 12 * 4
    try:
        parts = list(z_blocks((depth, 3, 4), overlap=overlap, bytes_per_voxel=4, max_bytes=budget))
    except InputError:
        assert slices < min(1 + 2 * overlap, depth)
        return
    assert [z for part in parts for z in range(part.start, part.stop)] == list(range(depth))
    for part in parts:
        assert part.first == max(0, part.start - overlap)
        assert part.last == min(depth, part.stop + overlap)
        assert (part.last - part.first) * 12 * 4 <= budget
        assert np.arange(part.first, part.last)[part.inner].tolist() == list(range(part.start, part.stop))


def test_a_volume_that_fits_is_one_block_for_any_overlap():
    assert [(part.first, part.last) for part in z_blocks((100, 3, 4), overlap=75, max_bytes=100 * 12 * 8)] == [(0, 100)]


def test_a_budget_below_one_slice_is_refused():
    with pytest.raises(InputError, match="raise `memory_gb`") as error:
        next(z_blocks((9, 100, 100), overlap=2, bytes_per_voxel=10, max_bytes=400_000))
    assert error.value.parameter == "memory_gb"


@given(seed=st.integers(0, 1000), share=st.floats(0.05, 0.7), thickness=st.integers(1, 9))
def test_components_are_those_of_the_whole_volume_for_every_block(seed, share, thickness):
    mask = np.random.default_rng(seed).random((9, 7, 8)) < share
    parts = find_components(lambda start, stop: mask[start:stop], mask.shape, max_bytes=thickness * 56 * 12)
    labels, n = ndimage.label(mask)
    assert sorted(parts.voxels) == sorted(np.bincount(labels.reshape(-1))[1:])
    inner = np.zeros_like(labels, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    reaching = set(np.unique(labels[~inner])) - {0}
    assert int(parts.at_border.sum()) == len(reaching)
    for chosen in range(n):
        selected = np.zeros(n, bool)
        selected[chosen] = True
        body = np.concatenate([parts.read(number, selected) for number in range(len(parts.blocks))])
        label = labels[body][0]
        assert (body == (labels == label)).all()
