"""Scans that drift: limits of the drift, and unchanged properties."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from studies.coherence.drift import drifted, drifted_scan, walk
from tomostain.evaluate.metrics.stripes import stripe_index
from tomostain.io import open_volume, write_stack


@given(most=st.floats(0.001, 3), seed=st.integers(0, 50))
def test_a_walk_stays_within_its_bounds_and_never_jumps(most, seed):
    steps = walk(400, most, np.random.default_rng(seed))
    free = np.random.default_rng(seed).normal(0, most / 2, 400)
    assert np.abs(steps).max() <= most * (1 + 1e-9)
    assert (np.abs(np.diff(steps)) <= np.abs(free[1:]) * (1 + 1e-9) + 1e-9).all()
    assert abs(steps[0] - free[0]) < 1e-9 or abs(free[0]) > most
    assert np.ptp(steps) > most


def bone(shape=(40, 48, 48)):
    """Blocks of two grey levels with noise, with the same statistics along every axis."""
    rng = np.random.default_rng(0)
    cells = rng.random(tuple(-(-side // 8) for side in shape)) > 0.5
    blocks = np.kron(cells, np.ones((8, 8, 8)))[: shape[0], : shape[1], : shape[2]]
    return np.rint(10_000 + 20_000 * blocks + rng.normal(0, 100, shape)).astype(np.uint16)


def test_gain_and_offset_drift_as_far_as_they_may():
    volume = np.full((60, 32, 64), 10_000, np.uint16)
    volume[:, :, 32:] = 30_000
    changed = drifted(volume, 10_000, 30_000, 0.02, np.random.default_rng(1)).astype(float)
    dark, bright = changed[:, :, :24].mean(axis=(1, 2)), changed[:, :, 40:].mean(axis=(1, 2))  # away from the blur
    assert 200 < np.abs(dark - 10_000).max() <= 401
    assert 200 < np.abs(bright - dark - 20_000).max() <= 401
    edges = np.abs(np.diff(changed, axis=2)).max(axis=(1, 2)) / (bright - dark)
    assert edges.min() < 0.8
    assert edges.max() > 0.95  # some slices are blurred and some are not


def test_a_drift_makes_stripes():
    volume = bone()
    changed = drifted(volume, 10_000, 30_000, 0.02, np.random.default_rng(1))
    rgb = np.repeat(changed[..., None] // 256, 3, axis=-1).astype(np.uint8)
    assert stripe_index(rgb, volume).index > 0.05


def test_a_drifted_scan_is_written_once_and_is_the_same_for_the_same_seed(tmp_path):
    write_stack(tmp_path / "steady", bone(), voxel_um=5.0)
    first = drifted_scan(tmp_path / "steady", tmp_path / "a", 0.02, 3)
    values = open_volume(first).read(0, 40)
    other = open_volume(drifted_scan(tmp_path / "steady", tmp_path / "b", 0.02, 3)).read(0, 40)
    np.testing.assert_array_equal(values, other)
    assert open_volume(first).voxel_um == (5.0, 5.0, 5.0)
    assert not np.array_equal(
        values, open_volume(drifted_scan(tmp_path / "steady", tmp_path / "c", 0.02, 4)).read(0, 40)
    )
    before = sorted(p.stat().st_mtime_ns for p in first.iterdir())
    drifted_scan(tmp_path / "steady", first, 0.02, 3)
    assert sorted(p.stat().st_mtime_ns for p in first.iterdir()) == before
