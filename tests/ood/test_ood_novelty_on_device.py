"""Novelty with operators of PyTorch: the values of the function for one slice, few operators, no wait, and memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from tests.support.operators import count_operators
from tests.support.textures import pair, tissue
from tomostain.ood import tensor_novelty
from tomostain.ood.neighbourhoods import neighbourhood_reference
from tomostain.ood.novelty import novelty, training_reference
from tomostain.ood.tensor_novelty import TensorNovelty, memory_bytes, nearest_places
from tomostain.phantom import PhantomConfig, make_images
from tomostain.stain import load_translator
from tomostain.stain.uncertainty import combined

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def references():
    pairs = [pair(tissue(seed)) for seed in range(5)]
    return {
        "this version": [training_reference(pairs)],
        "few places": [training_reference([pair(tissue(8, shape=(24, 20)))])],
        "other limits": [training_reference(pairs[:2], limits=(2000.0, 60000.0))],
        "older": [neighbourhood_reference(pairs)],
        "several": [training_reference(pairs[:3]), training_reference(pairs[3:]), neighbourhood_reference(pairs)],
    }


KINDS = pytest.mark.parametrize("kind", ["this version", "few places", "other limits", "older", "several"])


def on_device(slices, references):
    return TensorNovelty(references, CPU)(torch.from_numpy(np.asarray(slices, np.float32)))


def on_host(slices, references):
    return np.stack([np.min([novelty(ct, reference) for reference in references], axis=0) for ct in slices])


def grey_levels(values):
    return np.rint(255 * np.asarray(combined(None, values))).astype(int)


def check(slices, references):
    """Compare slices of one shape; return the largest novelty."""
    expected, actual = on_host(slices, references), on_device(slices, references)
    assert actual.dtype == torch.float32
    actual = actual.numpy()
    large = expected > 0.5
    np.testing.assert_allclose(actual[large], expected[large], rtol=1e-4)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    apart = np.abs(grey_levels(actual) - grey_levels(expected))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3
    return expected.max()


@KINDS
def test_tissue_has_the_novelty_of_each_slice_alone(references, kind):
    slices = [tissue(20), tissue(21, size=9.0), tissue(22, noise=3000.0), tissue(23, blur=2.0)]
    assert check(slices, references[kind]) > 1


@KINDS
@pytest.mark.parametrize("value", [0, 10000, 13000, 25000, 30000, 65535])
def test_constant_slices(references, kind, value):
    check(np.full((1, 61, 70), value, np.uint16), references[kind])


@KINDS
@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (3, 5), (33, 129), (257, 30)])
def test_narrow_slices(references, kind, shape):
    check([tissue(4, shape=shape)], references[kind])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 140),
    columns=st.integers(1, 140),
    sigma=st.floats(0.0, 12.0),
    low=st.integers(0, 30000),
    high=st.integers(0, 65535),
    kind=st.sampled_from(["this version", "few places", "other limits", "older"]),
)
def test_random_fields(references, seed, rows, columns, sigma, low, high, kind):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random((2, rows, columns)), (0, sigma, sigma))
    scaled = (field - field.min()) / max(np.ptp(field), 1e-9)
    check(low + (high - low) * scaled, references[kind])


def test_air_is_not_novel_and_its_border_is_the_same(references):
    slices = np.full((2, 230, 210), 10000, np.uint16)
    slices[0, 60:90, 50:120] = tissue(2, shape=(30, 70))
    assert check(slices, references["this version"]) > 1
    assert not on_device(slices, references["this version"])[1].any()


@pytest.mark.parametrize("kind", ["this version", "older"])
def test_parts_of_the_places_and_of_the_slices_have_the_same_values(references, kind, monkeypatch):
    slices = [tissue(seed, noise=1500.0) for seed in range(5)]
    whole = on_device(slices, references[kind])
    monkeypatch.setattr(tensor_novelty, "_TOGETHER_PX", 2 * slices[0].size)
    monkeypatch.setattr(tensor_novelty, "_DISTANCES", 30_000)
    monkeypatch.setattr("tomostain.ood.tensor_texture._PLACES", 1)
    np.testing.assert_allclose(on_device(slices, references[kind]), whole, rtol=1e-6)


@pytest.mark.parametrize("kind", ["this version", "older"])
def test_a_value_that_is_not_a_number_stays_one(references, kind):
    slices = np.stack([tissue(5), tissue(6)]).astype(np.float32)
    slices[1, 70, 90] = np.nan
    values = on_device(slices, references[kind])
    assert values[0].isfinite().all()
    assert values[1, 72, 88].isnan()


@pytest.mark.parametrize("count", [1, 5, 40])
def test_the_nearest_places_are_those_of_a_search(count):
    rng = np.random.default_rng(count)
    reference, places = rng.normal(size=(30, 6)), rng.normal(size=(200, 6))
    places[:10] = reference[:10]
    distances, nearest = nearest_places(torch.from_numpy(places), torch.from_numpy(reference), count)
    expected, indices = cKDTree(reference).query(places, k=list(range(1, min(count, 30) + 1)))
    np.testing.assert_array_equal(nearest.numpy(), indices)
    np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-12)


def test_a_batch_has_few_operators_and_none_waits(references):
    function = TensorNovelty(references["this version"], CPU)
    small, large = (torch.rand(n, 64, 64) * 30000 for n in (1, 16))
    function(small)
    counted = [count_operators(lambda ct=ct: function(ct)) for ct in (small, large)]
    assert [each.synchronisations for each in counted] == [0, 0]
    assert abs(counted[1].total - counted[0].total) < 10
    assert counted[1].total < 1200


def test_the_planned_memory_grows_with_the_pixels_and_has_few_distances():
    assert memory_bytes(10**5) < memory_bytes(10**6) < memory_bytes(10**7)
    assert memory_bytes(2 * 10**4) == 2 * memory_bytes(10**4)
    # At most 2**25 distances of 8 bytes are in memory, however many pixels there are.
    assert 2 * memory_bytes(10**8) - memory_bytes(2 * 10**8) == 8 * 2**25


@pytest.fixture(scope="module")
def phantom():
    """Return slices of a specimen with the grey values of a normalised volume."""
    grey = {"background_grey": 10000, "bone_grey": 30000}
    config = PhantomConfig(shape=(10, 150, 140), voxel_um=45, pixel_um=200, tomography=grey)
    return make_images(config).volume.read(0, 10)[[2, 5, 8]]


@pytest.mark.parametrize("model", ["builtin:phantom-he", "builtin:phantom-tb"])
@pytest.mark.parametrize("noise", [0, 4000])
def test_phantoms_and_the_models_of_the_package(phantom, model, noise):
    reference = load_translator(model, "cpu").training_reference
    slices = phantom + np.random.default_rng(1).normal(0, noise, phantom.shape)
    assert check(slices.clip(0, 65535), [reference]) > 0.5
