"""The common background of a pair is air in the µCT and glass in the histology, by the labels of a phantom."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.imaging.common_background import common_background

AIR, TISSUE, BONE = 10_000, 12_500, 30_000


def pair(ct_noise=500.0, seed=0):
    """Return a specimen in air: columns 30 to 90 are tissue; the histology is shifted by 4 px."""
    rng = np.random.default_rng(seed)
    ct = np.full((60, 120), AIR, np.float64)
    ct[:, 30:90] = TISSUE
    ct[:, 50:70] = BONE
    histology = np.full((60, 120, 3), 246, np.uint8)
    histology[:, 34:94] = (150, 140, 190)
    return (ct + rng.normal(0, ct_noise, ct.shape)).clip(0).astype(np.uint16), histology


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.floats(0, 800))
def test_only_pixels_that_are_air_in_both_images_are_selected(seed, noise):
    selected = common_background(*pair(noise, seed))
    columns = np.flatnonzero(selected.any(axis=0))
    assert not ((columns >= 30) & (columns < 94)).any()
    # Both sides are selected, except for the width of the window.
    assert selected[5:-5, 5:20].mean() > 0.9
    assert selected[5:-5, 100:115].mean() > 0.9


def test_without_a_bright_background_nothing_is_selected():
    ct, histology = pair()
    assert not common_background(ct, np.full_like(histology, 100)).any()


@pytest.mark.parametrize("grey", [TISSUE, BONE, 0])
def test_glass_over_tissue_is_not_selected(grey):
    ct, histology = pair()
    ct[:, :20] = grey
    selected = common_background(ct, histology)[5:-5, 4:14]
    assert selected.mean() == (1.0 if grey == 0 else 0.0)
