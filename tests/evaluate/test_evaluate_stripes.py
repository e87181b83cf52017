"""The stripe index for known cases: isotropic noise, offsets of known size, an anisotropic µCT."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.evaluate.metrics.stripes import draw_stripes, stripe_index
from tomostain.io import create_stained, open_stained, open_volume, write_stack

SHAPE = (40, 48, 52)


def smooth(sigma, seed=0, deviation=20.0):
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), sigma, mode="wrap")
    return 128 + deviation * values / values.std()


def rgb(values):
    return np.repeat(np.rint(values).clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)


def test_isotropic_texture_has_no_stripes():
    stripes = stripe_index(rgb(smooth(1.0)), smooth(1.0, seed=1))
    assert abs(stripes.index) < 0.05  # two random fields
    assert stripe_index(rgb(smooth(2.0)), smooth(2.0)).index == pytest.approx(0, abs=0.02)  # except for rounding


@pytest.mark.parametrize("sigma", [4.0, 6.0, 12.0])
def test_offsets_of_slices_are_found_at_their_size(sigma):
    """Each slice has an offset N(0, σ): D_z grows by 2 σ², analytically."""
    offsets = sigma * np.random.default_rng(2).normal(size=SHAPE[0])
    ct = smooth(3.0)
    stripes = stripe_index(rgb(ct + offsets[:, None, None]), ct)
    truth = np.sqrt(np.mean(np.diff(offsets) ** 2) / 2)  # of these offsets, not of their distribution
    assert stripes.flicker == pytest.approx(truth, rel=0.05)
    within = np.mean(np.concatenate([np.diff(ct, axis=axis).ravel() ** 2 for axis in (1, 2)]))
    assert stripes.index == pytest.approx(2 * truth**2 / within, rel=0.15)
    # `along_z` is high where the offsets of neighbouring slices differ.
    assert np.corrcoef(stripes.along_z, np.sqrt(np.diff(offsets) ** 2 + within))[0, 1] > 0.8


def test_variation_of_the_scan_along_z_is_not_a_stripe():
    ct = smooth((0.8, 3.0, 3.0))
    assert stripe_index(rgb(ct), ct).index == pytest.approx(0, abs=0.02)
    assert stripe_index(rgb(ct), smooth(3.0)).index > 2  # relative to a scan that is smooth along z


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 50), st.booleans())
def test_the_z_chunk_does_not_change_the_index(z_chunk, masked):
    stained, ct = rgb(smooth(1.5)), np.rint(smooth(1.0, seed=3)).astype(np.uint16)
    mask = (lambda values: values > 120) if masked else None
    one, other = stripe_index(stained, ct, mask, z_chunk=z_chunk), stripe_index(stained, ct, mask, z_chunk=1000)
    assert (one.index, one.flicker, one.within) == (other.index, other.flicker, other.within)
    np.testing.assert_array_equal(one.along_z, other.along_z)


def test_pixels_outside_the_mask_do_not_count():
    ct = smooth(2.0)
    ct[:, :10] = 0
    stained = rgb(ct)
    wild = stained.copy()
    wild[:, :10] = np.random.default_rng(0).integers(0, 256, wild[:, :10].shape)
    inside = lambda values: values > 0  # noqa: E731
    assert stripe_index(wild, ct, inside).index == stripe_index(stained, ct, inside).index
    assert stripe_index(wild, ct).index != stripe_index(stained, ct).index


def test_volumes_on_disk_are_read_as_arrays_are(tmp_path):
    stained, ct = rgb(smooth(2.0)), np.rint(100 * smooth(2.0, seed=5)).astype(np.uint16)
    writer = create_stained(tmp_path / "a.ome.zarr", SHAPE, 5.0, z_chunk=16, provenance={})
    for start, stop in writer.pending():
        writer.write(start, stained[start:stop])
    writer.finish()
    write_stack(tmp_path / "ct", ct, voxel_um=5.0)
    stripes = stripe_index(open_stained(tmp_path / "a.ome.zarr"), open_volume(tmp_path / "ct"), z_chunk=7)
    assert stripes.index == stripe_index(stained, ct).index


def test_a_picture_of_it_is_drawn():
    stained, ct = rgb(smooth(2.0)), smooth(2.0)
    index = stripe_index(stained, ct)
    picture = draw_stripes(stained, index)
    assert picture.ndim == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    assert str(index).startswith("stripe index")


def test_volumes_without_stripes():
    with pytest.raises(InputError, match=r"stained volume has \(2, 3, 4\) voxels, the µCT \(2, 3, 5\)"):
        stripe_index(np.zeros((2, 3, 4, 3), np.uint8), np.zeros((2, 3, 5)))
    with pytest.raises(InputError, match="has one slice"):
        stripe_index(np.zeros((1, 3, 4, 3), np.uint8), np.zeros((1, 3, 4)))
    flat = stripe_index(np.zeros((2, 3, 4, 3), np.uint8), np.zeros((2, 3, 4)))
    assert np.isnan(flat.index)
    assert flat.flicker == 0
