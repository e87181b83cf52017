"""Distance of a scan from the training data of a model, against SciPy's distance, and changes that must not count."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from tomostain.errors import OutOfDistributionWarning
from tomostain.imaging.intensity import IntensityReference
from tomostain.ood import ModelReference, VolumeReport, check_slices, check_volume
from tomostain.ood.grey_values import (
    QUANTILES,
    distance,
    distance_limit,
    grey_distance,
    sample_slices,
    solid_quantiles,
)


def scan(seed, bone=30000.0, screw=36000.0, air=0.5, n=100_000):
    """Return grey values of air, marrow, bone and screw."""
    rng = np.random.default_rng(seed)
    kind = (rng.random(n) - air) / (1 - air)  # below 0: air; otherwise the position within the specimen
    centre = np.select([kind < 0, kind < 0.2, kind < 0.9], [10000.0, 13000.0, bone], screw)
    return np.clip(rng.normal(centre, 800.0), 0, 65535).astype(np.uint16)


def test_the_distance_is_about_wassersteins():
    a, b = scan(0), scan(1, bone=27000.0, screw=33000.0)
    solid = [x[x > 15000].astype(float) for x in (a, b)]
    exact = wasserstein_distance(*solid) / 20000
    assert distance(solid_quantiles(a), solid_quantiles(b)) == pytest.approx(exact, rel=0.15)


@given(st.floats(0.1, 0.8), st.integers(0, 100))
def test_air_does_not_count(air, seed):
    # The share of air in the field of view does not matter.
    known = [solid_quantiles(scan(1000, n=20_000)).tolist()]
    assert grey_distance(scan(seed, air=air, n=20_000), known) < 0.02


def test_the_nearest_training_pair_decides():
    known = [solid_quantiles(scan(0, screw=screw)).tolist() for screw in (14000.0, 36000.0)]
    assert grey_distance(scan(9, screw=14000.0), known) < 0.01
    assert grey_distance(scan(9, bone=24000.0), known) > 0.1


def test_a_volume_without_solid_voxels_has_the_maximum_distance():
    air = np.full(100, 10000, np.uint16)
    assert np.isnan(solid_quantiles(air)).all()
    assert grey_distance(air, [[20000.0] * len(QUANTILES)]) == float("inf")
    report = check_slices(ModelReference([[20000.0] * len(QUANTILES)]), air, "scan.h5")
    assert not report.in_distribution
    with pytest.warns(
        OutOfDistributionWarning, match=r"scan.h5: its grey values are unlike .*Check the grey values .*\(`intensity`\)"
    ):
        report.warn()
    assert report.to_dict() == {"grey_distance": None, "new_share": None}


def test_a_distance_just_above_the_limit_is_stated_with_enough_digits():
    (message,) = VolumeReport("scan", grey_distance=0.0612, grey_limit=0.0598).messages
    assert "distance 0.061 of the step from background to bone, usual up to 0.060" in message


def test_a_model_without_a_reference_gives_an_empty_report():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check_slices(ModelReference(), scan(0), "v")
        report.warn()
        assert report.in_distribution
        assert (report.grey_distance, report.novel_share) == (None, None)
        known = [solid_quantiles(scan(1)).tolist()]
        report = check_slices(ModelReference(known), scan(0), "v")
        report.warn()
        assert report.grey_distance == pytest.approx(0.0, abs=0.01)


def test_varied_training_widens_the_limit():
    pairs = [solid_quantiles(scan(i, bone=bone)).tolist() for i, bone in enumerate((26000.0, 28500.0, 31000.0))]
    assert distance_limit(pairs) > distance_limit(pairs[:1]) == pytest.approx(0.06)


def test_one_odd_pair_does_not_make_everything_usual():
    alike = [solid_quantiles(scan(seed)).tolist() for seed in range(5)]
    odd = solid_quantiles(scan(9, bone=18000.0, screw=19000.0)).tolist()
    assert distance_limit([*alike, odd]) == distance_limit(alike) == pytest.approx(0.06)
    assert grey_distance(scan(7, bone=24000.0), [*alike, odd]) > distance_limit([*alike, odd])


@pytest.mark.parametrize("levels", [IntensityReference(100.0, 900.0), None])
def test_a_volume_is_sampled_over_its_depth(levels):
    class Stack:
        shape, voxel_um = (40, 3, 3), (5.0,) * 3

        def read(self, start, stop):
            return np.arange(start, stop, dtype=np.uint16)[:, None, None].repeat(3, 1).repeat(3, 2) * 20 + 100

    samples = sample_slices(Stack(), levels)
    z = np.array([2, 7, 12, 17, 22, 27, 32, 37])
    expected = z * 20 + 100 if levels is None else 10000 + z * 20 * 25
    np.testing.assert_array_equal(samples[:, 0, 0], expected)
    report = check_volume(ModelReference([[20000.0] * len(QUANTILES)]), Stack(), levels)
    assert np.isfinite(report.grey_distance) == (levels is not None)
