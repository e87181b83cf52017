"""A known smooth shift is recovered, and no shift is found where there is none."""

import numpy as np
import pytest
from scipy import ndimage

from tomostain.register.deformation import deform, warp

PIXEL_UM = 10.0


@pytest.fixture(scope="module")
def pictures():
    noise = np.random.default_rng(0).standard_normal((160, 180))
    ct = ndimage.gaussian_filter(noise, 4.0)
    ct = ((ct - ct.min()) / np.ptp(ct) * 30000).astype(np.float32)
    histology = np.repeat((230 - ct / 150).astype(np.uint8)[..., None], 3, axis=2)
    return ct, histology, np.ones(ct.shape, bool)


def test_a_smooth_shift_is_found(pictures):
    ct, histology, mask = pictures
    rows, columns = np.indices(ct.shape)
    shift = np.stack([3.0 * np.sin(rows / 50), 2.0 * np.cos(columns / 60)], axis=-1).astype(np.float32)
    moved = np.rint(warp(histology, shift)).astype(np.uint8)
    deformation = deform(ct, moved, mask, PIXEL_UM)
    assert deformation.after > deformation.before + 0.2
    inner = (slice(20, -20), slice(20, -20))
    left = np.abs(deformation.shift_um[inner] / PIXEL_UM + shift[inner])
    assert np.median(left) < 0.6  # pixels; the shift was up to 3
    assert deformation.largest_um <= 80.0 + 1e-3


def test_aligned_images_are_unchanged(pictures):
    ct, histology, mask = pictures
    assert np.median(np.abs(deform(ct, histology, mask, PIXEL_UM).shift_um)) < 0.5 * PIXEL_UM


def test_useless_replacements_are_not_made(pictures, monkeypatch):
    ct, histology, mask = pictures
    # A measure without any gain: the estimated field must not be applied.
    monkeypatch.setattr("tomostain.register.deformation.mutual_information", lambda *_: 1.0)
    deformation = deform(ct, histology, mask, PIXEL_UM)
    assert not deformation.shift_um.any()
    assert deformation.after == deformation.before


def test_tissue_that_does_not_correspond_is_not_deformed(pictures):
    ct, _, mask = pictures
    other = ndimage.gaussian_filter(np.random.default_rng(7).standard_normal(ct.shape), 4.0)
    histology = np.repeat((120 + 60 * other / np.abs(other).max()).astype(np.uint8)[..., None], 3, axis=2)
    assert not deform(ct, histology, mask, PIXEL_UM).shift_um.any()


def test_a_shift_beyond_the_bound_is_not_followed(pictures):
    ct, histology, mask = pictures
    shift = np.zeros((*ct.shape, 2), np.float32)
    shift[..., 1] = 9.0
    moved = np.rint(warp(histology, shift)).astype(np.uint8)
    assert deform(ct, moved, mask, PIXEL_UM, max_um=40.0).largest_um <= 40.0 + 1e-3
