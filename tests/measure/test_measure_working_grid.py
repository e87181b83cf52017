"""Volumes at the voxel size of the classifier."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomostain.io import Volume, create_stained, open_stained
from tomostain.measure.working_grid import ResampledColours, StainedLevel, colours_at, is_finer, scan_at


def write(path, colours, voxel_um):
    writer = create_stained(path, colours.shape[:3], voxel_um, z_chunk=8, provenance={})
    for start, stop in writer.pending():
        writer.write(start, colours[start:stop])
    writer.finish()
    return open_stained(path)


@given(st.tuples(*[st.floats(1, 100)] * 3), st.floats(5, 50))
def test_only_volumes_without_a_coarser_side_are_finer(sizes, target):
    if is_finer(sizes, target):
        assert max(sizes) <= 1.1 * target
        assert min(sizes) < 0.9 * target


def test_a_level_of_the_pyramid_is_used_where_it_fits(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (4, 300, 300, 3), dtype=np.uint8)
    stained = write(tmp_path / "s", colours, 10.0)
    assert colours_at(stained, 10.5) is stained
    assert colours_at(stained, 5.0) is stained
    level = colours_at(stained, 20.0)
    assert isinstance(level, StainedLevel)
    assert (level.shape, level.voxel_um, level.dtype) == ((2, 150, 150), (20.0, 20.0, 20.0), np.uint8)
    np.testing.assert_array_equal(level.read(0, 2), stained.read(0, 2, 1))


def test_other_sizes_are_resampled_with_the_scan_on_one_grid(tmp_path):
    values = np.linspace(0, 255, 30)[:, None, None] * np.ones((1, 24, 20))
    colours = np.stack([values, values / 2, 255 - values], axis=-1).round().astype(np.uint8)
    stained = write(tmp_path / "s", colours, 8.0)
    resampled = colours_at(stained, 20.0, levels=False)
    assert isinstance(resampled, ResampledColours)
    scan = scan_at(Volume.from_array(colours[..., 0], voxel_um=8.0), 20.0)
    assert resampled.shape == scan.shape
    assert resampled.voxel_um == (20.0, 20.0, 20.0)
    whole = resampled.read(0, resampled.shape[0])
    np.testing.assert_array_equal(whole[..., 0], scan.read(0, scan.shape[0]))
    np.testing.assert_array_equal(np.concatenate([resampled.read(0, 5), resampled.read(5, 12)]), whole)
    # A linear ramp stays one, apart from its ends.
    assert np.diff(whole[2:-2, 5, 5, 0].astype(int)) == pytest.approx(255 / 29 * 2.5, abs=1.5)
