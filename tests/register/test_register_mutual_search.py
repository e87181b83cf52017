"""The global search by mutual information at every shift, and the local refinement."""

import numpy as np
import pytest

from tests.register.planar_scenes import PIXEL_UM, SHAPE, classes, ct_of, slide_of
from tomostain.register import mutual_search
from tomostain.register.mutual_search import MutualScore, corners_um, refine_rigid, refine_strained, search_all_poses
from tomostain.register.planar_images import planar_images
from tomostain.register.planar_pose import PlanarPose

MIDDLE = np.array(SHAPE) / 2 * PIXEL_UM


@pytest.fixture(scope="module")
def images():
    tissue = classes()
    slide = slide_of(tissue, PlanarPose.as_given(MIDDLE))
    return planar_images(ct_of(tissue), PIXEL_UM, slide, PIXEL_UM, 1024)


def test_the_scores_of_all_shifts_are_those_of_counted_histograms():
    rng = np.random.default_rng(0)
    bins, colours = rng.integers(0, 8, (12, 12)), rng.integers(0, 9, (9, 9))
    colours[0] = 0  # no tissue
    shape = [24, 24]
    spectra = np.fft.rfft2(np.stack([bins == b for b in range(8)]).astype(np.float32), shape)
    scores = mutual_search._scores_of_shifts(colours, spectra, shape)
    for row, column in ((0, 0), (2, 3), (1, -1)):
        pairs = [
            (colours[r, c], bins[r + row, c + column])
            for r, c in np.ndindex(9, 9)
            if colours[r, c] and 0 <= r + row < 12 and 0 <= c + column < 12
        ]
        counts = np.zeros((9, 8))
        for pair in pairs:
            counts[pair] += 1
        p = counts / counts.sum()
        expected = p * np.log(np.where(p > 0, p, 1) / (p.sum(1, keepdims=True) * p.sum(0) + 1e-30))
        share = len(pairs) / (colours > 0).sum()
        assert scores[row, column] == pytest.approx(share * np.where(p > 0, expected, 0).sum(), abs=1e-6)


def test_the_right_pose_is_found_among_all(images):
    best = search_all_poses(images, 5)[0]
    assert not best.mirrored
    assert best.distance_um(PlanarPose.as_given(MIDDLE), corners_um(images)).mean() < 8 * PIXEL_UM


def test_refinement_climbs_to_the_truth(images):
    truth = PlanarPose.as_given(images.middle_um)
    score = MutualScore(images)
    refined = refine_rigid(score, truth.moved([30.0, -20.0], 0.03), 1.5 * PIXEL_UM, images.size_um / 3)
    assert score(refined) > 0.99 * score(truth)
    assert refined.distance_um(truth, corners_um(images)).mean() < 0.5 * PIXEL_UM


def test_a_narrow_prior_leaves_no_strain_and_a_wide_one_allows_it(images):
    truth = PlanarPose.as_given(images.middle_um)
    squeezed = truth.moved(np.zeros(2), 0.0, [[0.03, 0.0], [0.0, 0.0]])
    score = MutualScore(images)
    options = (PIXEL_UM, images.size_um / 3, 100.0)
    free = refine_strained(score, squeezed, *options, 0.03)
    assert np.abs(free.strain).max() < 0.01
    stiff = refine_strained(score, truth, *options, 0.0002)
    assert np.abs(stiff.strain).max() < 0.001


def test_the_score_ignores_pixels_outside(images):
    score = MutualScore(images)
    truth = PlanarPose.as_given(images.middle_um)
    half = images.valid.copy()
    half[:, half.shape[1] // 2 :] = False
    cut = MutualScore(type(images)(images.ct, half, images.rgb, images.tissue, images.pixel_um))
    assert 0.3 * score(truth) < cut(truth) < 0.75 * score(truth)
    # A pose with almost nothing inside is refused.
    assert score(truth.moved([4000.0, 0.0])) < 0
