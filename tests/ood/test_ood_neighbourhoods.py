"""The reference of older models: features against their analytic values, and distances against a brute-force search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.dataset.pair import Pair
from tomostain.errors import InputError, OutOfDistributionWarning
from tomostain.ood import ModelReference, check_slices
from tomostain.ood.grey_limits import GREY_LIMITS
from tomostain.ood.neighbourhoods import (
    FEATURES,
    SIGMAS_PX,
    STEP_PX,
    NeighbourhoodReference,
    describe,
    neighbourhood_reference,
)
from tomostain.ood.novelty import TrainingReference, novelty


def pair(ct, name="p", mask=None):
    mask = np.ones(ct.shape, bool) if mask is None else mask
    return Pair(name, ct.astype(np.uint16), np.zeros((*ct.shape, 3), np.uint8), mask, 20.0)


def noise(seed, level=20000, spread=1000, shape=(90, 110)):
    return np.random.default_rng(seed).normal(level, spread, shape).round().astype(np.uint16)


def test_flat_is_its_level_and_no_spread():
    features = describe(np.full((21, 18), 25000, np.uint16))
    assert features.shape == (6, 5, FEATURES)
    np.testing.assert_allclose(features[..., ::2], 0.75, atol=1e-6)
    np.testing.assert_allclose(features[..., 1::2], np.log(0.02), atol=1e-3)


def test_values_outside_the_network_range_are_not_described():
    ct = noise(0, 60000)
    np.testing.assert_array_equal(describe(ct), describe(np.full_like(ct, GREY_LIMITS[1])))


def test_waves_have_the_mean_and_spread_of_the_filtered_wave():
    # A Gaussian of σ multiplies a wave of wave number k by exp(-(σk)²/2), and its square's wave, 2k, by the 4th power.
    k, height = 2 * np.pi / 12, 0.3
    x = np.arange(240)
    ct = np.broadcast_to(10000 + 20000 * (0.5 + height * np.cos(k * x)), (16, 240))
    middle = slice(80, 160)
    features = describe(ct)[2, middle.start // STEP_PX : middle.stop // STEP_PX]
    at = x[middle][::STEP_PX]
    for number, sigma in enumerate(SIGMAS_PX):
        passed = np.exp(-((sigma * k) ** 2) / 2)
        mean = 0.5 + height * passed * np.cos(k * at)
        square = 0.25 + height * passed * np.cos(k * at) + height**2 / 2 * (1 + passed**4 * np.cos(2 * k * at))
        spread = 0.5 * np.log(square - mean**2 + 0.02**2)
        # The kernel ends at four σ and is sampled at pixels.
        np.testing.assert_allclose(features[:, 2 * number], mean, atol=2e-3)
        np.testing.assert_allclose(features[:, 2 * number + 1], spread, atol=2e-2)


def test_distances_are_those_of_a_search_by_brute_force():
    seen, ct = neighbourhood_reference([pair(noise(i)) for i in range(3)]), noise(9, 22000, 2000, (41, 50))
    features = describe(ct) / seen.scale
    apart = np.linalg.norm(features[:, :, None] - seen.neighbourhoods[None, None], axis=-1).min(axis=-1)
    distances = novelty(ct, seen)
    assert distances.shape == ct.shape
    np.testing.assert_allclose(distances[::STEP_PX, ::STEP_PX], apart / seen.usual, rtol=1e-4)


def test_a_hundredth_of_each_pair_is_new_to_the_others():
    values = [noise(i) for i in range(6)]
    seen = neighbourhood_reference([pair(ct) for ct in values[:5]])
    assert (novelty(values[5], seen) > 1).mean() < 0.05
    # 99 of 100 by construction: each pair is compared with the other four.
    assert 0.3 < np.median(novelty(values[5], seen)) < 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(30, 70), st.integers(30, 70))
def test_training_texture_is_never_more_novel_than_an_altered_copy(seed, rows, columns):
    ct = noise(seed, shape=(rows, columns))
    # All features are in the memory, so none is new. After a rotation, the features are those of other positions.
    everything = NeighbourhoodReference(describe(ct).reshape(-1, FEATURES), np.ones(FEATURES, np.float32), 1.0)
    assert novelty(ct, everything).max() == 0
    assert novelty(noise(seed + 1, 15000, shape=(rows, columns)), everything).min() > 0.1


def test_the_reference_is_bounded_and_the_same_for_the_same_seed():
    pairs = [pair(noise(i, shape=(200, 200))) for i in range(25)]
    a, b = neighbourhood_reference(pairs), neighbourhood_reference(pairs)
    assert len(a.neighbourhoods) == 8000
    np.testing.assert_array_equal(a.neighbourhoods, b.neighbourhoods)
    assert a.usual == b.usual > 0


def test_places_outside_the_mask_are_known_too_but_fewer():
    mask = np.zeros((200, 200), bool)
    mask[:, :100] = True
    ct = np.where(mask, noise(1, 30000, shape=mask.shape), noise(2, 10000, shape=mask.shape))
    grey = neighbourhood_reference([pair(ct, mask=mask)])
    level = grey.neighbourhoods[:, 0] * grey.scale[0]
    assert (level > 0.5).sum() == 400
    assert (level < 0.5).sum() == 100


def test_a_single_pair_and_a_constant_one_give_a_reference():
    assert neighbourhood_reference([pair(noise(0))]).usual > 0
    flat = neighbourhood_reference([pair(np.full((30, 30), 20000))] * 2)
    assert novelty(np.full((30, 30), 20000, np.uint16), flat).max() < 1
    assert novelty(np.full((30, 30), 30000, np.uint16), flat).min() > 1


def test_much_that_is_new_is_warned_of():
    seen = neighbourhood_reference([pair(noise(i)) for i in range(3)])
    reference = ModelReference(training=seen)
    assert check_slices(ModelReference(), noise(7)[None], "scan").novel_share is None
    usual = check_slices(reference, noise(7)[None], "scan").novel_share
    assert usual is not None
    assert usual <= 0.05
    report = check_slices(reference, noise(7, 12000, 50)[None], "scan")
    assert report.novel_share == 1.0
    with pytest.warns(
        OutOfDistributionWarning, match=r"scan: 100 % of this volume is unlike the training data \(usual up to 10 %\)"
    ):
        report.warn()


def test_it_comes_back_from_its_arrays_and_nothing_else_does():
    seen = neighbourhood_reference([pair(noise(i)) for i in range(2)])
    again = TrainingReference.from_arrays(seen.to_arrays(), "model")
    np.testing.assert_array_equal(novelty(noise(5), again), novelty(noise(5), seen))
    good = seen.to_arrays()
    for name, bad in {
        "neighbourhoods": good["neighbourhoods"][:, :3],
        "scale": -good["scale"],
        "usual": np.array([np.nan], np.float32),
    }.items():
        with pytest.raises(InputError, match="model: does not hold a training reference"):
            TrainingReference.from_arrays(good | {name: bad}, "model")
    with pytest.raises(InputError, match="does not hold"):
        TrainingReference.from_arrays({}, "model")
