"""Novelty of this version's models: features against direct computation, calibration, and what is flagged."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tests.support.textures import pair, tissue
from tomostain.errors import InputError, OutOfDistributionWarning
from tomostain.ood import Augmentation, ModelReference, check_slices, share_sentence
from tomostain.ood.grey_limits import GREY_LIMITS
from tomostain.ood.nearest_places import nearest_places
from tomostain.ood.neighbourhoods import NeighbourhoodReference, neighbourhood_reference
from tomostain.ood.novelty import TrainingReference, novel_share, novelty, training_reference
from tomostain.ood.regional_reference import GRID_PX, RegionalReference
from tomostain.ood.residual import DIMENSIONS, TextureModel
from tomostain.ood.texture import CONTENT, STEP_PX, TEXTURE, describe


@pytest.fixture(scope="module")
def reference():
    return training_reference([pair(tissue(seed)) for seed in range(5)])


def test_features_of_a_flat_slice():
    content, texture = describe(np.full((45, 38), 25000, np.uint16))
    assert content.shape == (12, 10, CONTENT)
    assert texture.shape == (12, 10, TEXTURE)
    np.testing.assert_allclose(content[..., :3], 0.75, atol=1e-5)
    np.testing.assert_allclose(np.square(content[..., 3:]).sum(axis=-1), 1, atol=1e-4)
    # The logarithms of the floors: amplitude 0.003, root mean square 0.01, gradient sqrt(1e-5).
    np.testing.assert_allclose(texture[..., [0, 3, 6]], np.log(3e-3), atol=1e-2)
    np.testing.assert_allclose(texture[..., [1, 4, 7, 9]], np.log(1e-2), atol=1e-2)
    np.testing.assert_allclose(texture[..., [10, 12, 14]], np.log(1e-5) / 2, atol=1e-2)


def test_values_outside_the_window_of_the_networks_have_no_effect():
    ct = np.random.default_rng(0).integers(50000, 65000, (40, 40))
    np.testing.assert_array_equal(describe(ct)[1], describe(np.full_like(ct, GREY_LIMITS[1]))[1])


@pytest.mark.parametrize("wave_px", [10, 16])
def test_the_energy_of_a_wave_is_that_of_the_filtered_wave(wave_px):
    # A Gaussian of σ multiplies a wave of wave number k by exp(-(σk)²/2).
    k, height = 2 * np.pi / wave_px, 0.4
    ct = np.broadcast_to(10000 + 20000 * (0.5 + height * np.sin(k * np.arange(320))), (64, 320))
    energy = describe(ct)[1][8, 20:60, [1, 4]]
    for (narrow, wide), band in zip(((1, 2), (2, 4)), energy, strict=True):
        size = height / np.sqrt(2) * (np.exp(-((narrow * k) ** 2) / 2) - np.exp(-((wide * k) ** 2) / 2))
        assert np.exp(band).mean() == pytest.approx(np.hypot(size, 0.01), rel=0.06)
    # All gradients are along the columns.
    assert describe(ct)[1][8, 20:60, [11, 13]].min() > 0.9


def test_the_residual_of_the_data_of_the_fit_is_centred():
    content, texture = describe(tissue(0))
    flat = content.reshape(-1, CONTENT), texture.reshape(-1, TEXTURE)
    regional = TextureModel.fit([flat]).regional((content, texture))
    assert regional.shape == (*content.shape[:2], DIMENSIONS)
    assert np.abs(regional[..., :TEXTURE].mean(axis=(0, 1))).max() < 0.3


def test_the_map_is_the_distance_of_a_search_by_brute_force(reference):
    ct = tissue(9, size=7.0)
    model = TextureModel(reference.content, reference.expected, reference.spread)
    places = model.regional(describe(ct))[::2, ::2]
    white = (places.reshape(-1, DIMENSIONS) - reference.mean) @ reference.whitening
    apart = cdist(white, reference.places)
    nearest = np.argsort(apart, axis=1)[:, :5]
    distance = np.take_along_axis(apart, nearest, axis=1).mean(axis=1)
    expected = distance / np.sqrt(reference.density[nearest].mean(axis=1)) / reference.usual[-1]
    result = novelty(ct, reference)
    assert result.shape == ct.shape
    np.testing.assert_allclose(result[::GRID_PX, ::GRID_PX], expected.reshape(places.shape[:2]), rtol=1e-4)
    assert GRID_PX == 2 * STEP_PX


def test_its_own_kind_is_usual_and_other_kinds_are_not(reference):
    same = [novel_share(tissue(seed)[None], reference) for seed in range(100, 106)]
    assert np.mean(same) < 0.02
    assert max(same) < reference.share_limit
    others = {
        "half the voxel size": tissue(100, size=8.0),
        "twice the voxel size": tissue(100, size=2.0),
        "noise": tissue(100, noise=1800.0),
        "blur": tissue(100, blur=2.0),
        "grey values": tissue(100) // 2 + 4000,
    }
    for name, ct in others.items():
        assert novel_share(ct[None], reference) > 0.2, name


def test_training_with_stronger_augmentation_accepts_more(reference):
    wide = training_reference([pair(tissue(seed)) for seed in range(5)], augmentation=Augmentation((0.4, 2.5), 0.1))
    other = tissue(100, size=7.0)[None]
    assert novel_share(other, wide) < 0.5 * novel_share(other, reference)


def test_in_a_narrow_field_of_view_larger_distances_are_usual(reference):
    # The training pairs are 160 px wide, so there are crops of 64, 96 and 128 px.
    np.testing.assert_array_equal(reference.sides, [64, 96, 128, 160])
    assert (np.diff(reference.usual) <= 0).all()
    assert reference.usual[0] > reference.usual[-1]
    narrow = [novel_share(tissue(seed)[None, 40:104, 60:124], reference) for seed in range(100, 106)]
    assert np.mean(narrow) < 0.1


def test_one_unusual_pair_does_not_raise_the_limit(reference):
    pairs = [pair(tissue(seed)) for seed in range(5)]
    unusual = training_reference([*pairs, pair(tissue(6, size=9.0, noise=2500.0))])
    assert novel_share(tissue(100, blur=2.0)[None], unusual) > 0.2
    # It is in the reference, so volumes like it are usual.
    like_it = tissue(106, size=9.0, noise=2500.0)[None]
    assert novel_share(like_it, unusual) < 0.5 * novel_share(like_it, reference)


def test_the_reference_is_small_and_repeatable():
    pairs = [pair(tissue(seed, shape=(96, 96))) for seed in range(7)]
    a, b = training_reference(pairs), training_reference(pairs)
    for name, array in a.to_arrays().items():
        np.testing.assert_array_equal(array, b.to_arrays()[name])
    assert len(a.places) <= 2600
    assert sum(array.nbytes for array in a.to_arrays().values()) < 400_000


def test_a_single_pair_and_flat_pairs_have_a_reference():
    single = training_reference([pair(tissue(0))])
    assert novel_share(tissue(0)[None], single) < 0.1
    assert novel_share(tissue(0, noise=3000.0)[None], single) > 0.2
    flat = training_reference([pair(np.full((30, 30), 20000))] * 2)
    assert novelty(np.full((30, 30), 20000, np.uint16), flat).max() < 1
    assert novelty(np.full((30, 30), 38000, np.uint16), flat).min() > 1


def test_a_volume_of_another_kind_is_warned_of(reference):
    model = ModelReference(training=reference)
    usual = check_slices(model, tissue(100)[None], "scan")
    assert usual.in_distribution
    assert usual.summary.endswith("(limit 5 %): covered by the training data")
    report = check_slices(model, tissue(100, noise=3000.0)[None], "scan")
    assert report.novel_limit == RegionalReference.share_limit
    assert share_sentence(report.novel_share) in report.summary
    with pytest.warns(OutOfDistributionWarning, match=r"scan: \d+ % of this volume is unlike the training data"):
        report.warn()


def test_a_novel_volume_is_not_reported_as_wrong_grey_values(reference):
    known = ModelReference([[29000.0, 29500.0, 30000.0, 30500.0, 31000.0]], reference)
    grey, novel = check_slices(known, (tissue(100, noise=3000.0) * 0.7)[None], "scan").messages
    assert "check that tissue, implant material and voxel size" in grey
    assert "another tissue or implant material, another voxel size" in novel


def test_references_of_both_versions_are_read(reference):
    for stored in (reference, neighbourhood_reference([pair(tissue(0)), pair(tissue(1))])):
        again = TrainingReference.from_arrays(stored.to_arrays(), "model")
        assert type(again) is type(stored)
        np.testing.assert_array_equal(novelty(tissue(5), again), novelty(tissue(5), stored))
    assert NeighbourhoodReference.share_limit > RegionalReference.share_limit


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("places", lambda a: a[:, :3]),
        ("density", lambda a: -a),
        ("usual", lambda a: a * np.float32(np.nan)),
        ("sides", lambda a: a[:1]),
        ("whitening", lambda a: a[:5]),
        ("mean", lambda a: a.astype(np.float64)),
        ("content", lambda a: a[:0]),
    ],
)
def test_a_damaged_reference_is_refused(reference, name, change):
    arrays = reference.to_arrays()
    with pytest.raises(InputError, match="model: does not hold a training reference"):
        TrainingReference.from_arrays(arrays | {name: change(arrays[name])}, "model")
    with pytest.raises(InputError, match="does not hold"):
        TrainingReference.from_arrays({key: a for key, a in arrays.items() if key != name}, "model")


@pytest.mark.parametrize("grey", [0.0, 10_000.0, 10_400.0])
def test_slices_of_air_are_not_novel(reference, grey):
    """Reconstructions have empty end slices and constants outside the field of view."""
    noise = np.random.default_rng(3).normal(0, 500, (160, 192))
    assert novel_share(np.stack([np.full((160, 192), grey), grey + noise]), reference) == 0.0
    half = tissue(50)
    half[:, :96] = grey
    right = novelty(half, reference)[:, 150:]
    assert (right > 0).all()


def test_dark_tissue_is_not_air(reference):
    assert novel_share(np.full((1, 160, 192), 14_000.0), reference) > 0.5


def test_a_reference_with_wider_limits_distinguishes_bright_materials():
    pairs = [pair(np.where(tissue(seed) > 25000, 45000, tissue(seed)).astype(np.uint16)) for seed in range(3)]
    narrow, wide = training_reference(pairs), training_reference(pairs, limits=(0.0, 60000.0))
    assert "limits" not in narrow.to_arrays()
    stored = TrainingReference.from_arrays(wide.to_arrays(), "a file")
    assert stored.limits == (0.0, 60000.0)
    other = np.where(pairs[0].ct == 45000, 58000, pairs[0].ct).astype(np.uint16)
    np.testing.assert_array_equal(narrow.grid(other), narrow.grid(pairs[0].ct))
    assert stored.grid(other).max() > stored.grid(pairs[0].ct).max()
    for limits in ([0.0, np.nan], [0.0, 20000.0], [0.0], [40000.0, 0.0]):
        with pytest.raises(InputError, match="a file: does not hold a training reference"):
            TrainingReference.from_arrays(wide.to_arrays() | {"limits": np.array(limits, np.float32)}, "a file")


def test_the_nearest_places_are_those_of_all_distances():
    rng = np.random.default_rng(4)
    reference = rng.normal(size=(700, 21)).astype(np.float32)
    places = rng.normal(size=(300, 21))
    distances, indices = nearest_places(places, reference)
    apart = np.sqrt(((places[:, None] - reference[None].astype(np.float64)) ** 2).sum(axis=-1))
    np.testing.assert_array_equal(indices, np.argsort(apart, axis=1)[:, :5])
    np.testing.assert_allclose(distances, np.sort(apart, axis=1)[:, :5], rtol=1e-12)


def test_regional_features_of_some_places_are_those_of_all():
    rng = np.random.default_rng(5)
    features = [rng.normal(size=(19, 26, size)).astype(np.float32) for size in (CONTENT, TEXTURE)]
    model = TextureModel.fit([tuple(each.reshape(-1, each.shape[-1]) for each in features)])
    np.testing.assert_array_equal(model.regional(features, 2), model.regional(features)[::2, ::2])
