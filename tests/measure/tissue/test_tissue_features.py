"""Features against a plain reference for the whole array, and their independence of the slices computed together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.measure.tissue.features import FeatureReader, FeatureSpec, image_features, volume_features

SPEC = FeatureSpec(scales=(1, 2, 4, 8), gradients=(1, 2, 4), extremes=(2, 4))


def reference(channels, spec):
    """The definition, for a whole array: (C, *axes)."""
    axes = range(1, channels.ndim)
    parts = [channels]
    for scale in spec.scales:
        pad = [(0, 0), *((0, -channels.shape[axis] % scale) for axis in axes)]
        blocks = np.pad(channels, pad, mode="edge").astype(np.float64)
        for axis in axes:
            blocks = np.add.reduceat(blocks, range(0, blocks.shape[axis], scale), axis=axis) / scale
        smooth = np.stack([ndimage.gaussian_filter(each, 1.0, mode="nearest", truncate=3.0) for each in blocks])
        maps = [smooth]
        if scale in spec.gradients:
            kernel = [-0.5, 0, 0.5]
            maps.append(np.sqrt(sum(ndimage.correlate1d(smooth, kernel, axis, mode="nearest") ** 2 for axis in axes)))
        if scale in spec.extremes:
            size = (1, *(3 for _ in axes))
            maps += [ndimage.maximum_filter(blocks, size, mode="nearest")]
            maps += [ndimage.minimum_filter(blocks, size, mode="nearest")]
        values = np.concatenate(maps)
        for axis in axes:
            position = np.clip((np.arange(channels.shape[axis]) + 0.5) / scale - 0.5, 0, values.shape[axis] - 1)
            low = np.floor(position).astype(int)
            high = np.minimum(low + 1, values.shape[axis] - 1)
            shape = [1] * values.ndim
            shape[axis] = -1
            weight = (position - low).reshape(shape)
            values = np.take(values, low, axis) * (1 - weight) + np.take(values, high, axis) * weight
        parts.append(values)
    return np.concatenate(parts)


@pytest.mark.parametrize("shape", [(19, 17, 23), (8, 8, 8), (3, 40, 5), (1, 9, 9)])
def test_features_are_those_of_the_definition(shape):
    channels = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    found = volume_features(channels, SPEC)
    assert found.dtype == np.float32
    assert found.shape == (len(SPEC.names("ab")), *shape)
    np.testing.assert_allclose(found, reference(channels, SPEC), atol=2e-6)


def test_features_of_an_image_are_those_of_the_definition():
    spec = SPEC.model_copy(update={"dimension": 2})
    channels = np.random.default_rng(0).normal(size=(3, 33, 20)).astype(np.float32)
    np.testing.assert_allclose(image_features(channels, spec), reference(channels, spec), atol=2e-6)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 70), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_block_wise_features_have_the_same_bits(depth, step, seed):
    channels = np.random.default_rng(seed).normal(size=(2, depth, 11, 13)).astype(np.float32)
    whole = volume_features(channels, SPEC)
    reader = FeatureReader(lambda a, b: np.moveaxis(channels[:, a:b], 1, 0), (depth, 11, 13), SPEC)
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        reader.prepare(start, stop)
        for z in range(start, stop):
            assert np.array_equal(reader.features(z), whole[:, z])


def test_each_slice_is_read_once_in_order():
    channels = np.zeros((1, 100, 8, 8), np.float32)
    reads = []

    def read(start, stop):
        reads.extend(range(start, stop))
        return np.moveaxis(channels[:, start:stop], 1, 0)

    reader = FeatureReader(read, (100, 8, 8), SPEC)
    for start in range(0, 100, 8):
        reader.prepare(start, min(start + 8, 100))
    assert reads == list(range(100))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 149))
def test_voxels_outside_the_halo_have_no_effect(z):
    channels = np.random.default_rng(0).normal(size=(1, 150, 9, 9)).astype(np.float32)
    other = channels.copy()
    inside = slice(max(z - SPEC.halo, 0), z + SPEC.halo + 1)
    other[:] = 100
    other[:, inside] = channels[:, inside]
    results = []
    for values in (channels, other):
        reader = FeatureReader(lambda a, b, values=values: np.moveaxis(values[:, a:b], 1, 0), (150, 9, 9), SPEC)
        reader.prepare(z, z + 1)
        results.append(reader.features(z))
    assert np.array_equal(*results)


def test_a_constant_has_its_value_at_all_scales_and_no_gradient():
    found = volume_features(np.full((1, 20, 20, 20), 3.0, np.float32), SPEC)
    for name, values in zip(SPEC.names(["x"]), found, strict=True):
        np.testing.assert_allclose(values, 0.0 if "gradient" in name else 3.0, atol=1e-5)


def test_wrong_specifications_are_refused():
    for wrong in ({"scales": [3]}, {"scales": []}, {"scales": [1, 2], "gradients": [4]}, {"extremes": [1]}):
        with pytest.raises(InputError, match=r"`scales`|`gradients`"):
            FeatureSpec.from_dict(wrong)
    with pytest.raises(InputError, match="2 slices; give one slice"):
        FeatureReader(lambda a, b: np.zeros((2, 1, 4, 4), np.float32), (2, 4, 4), FeatureSpec(dimension=2))
