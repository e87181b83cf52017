"""The noise input: a function of position and seed alone, with the stated statistics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.operators import count_operators
from tomostain.errors import InputError
from tomostain.tiling import noise_tensor
from tomostain.tiling.noise import (
    FIRST_SLICE,
    NoiseSpec,
    SlicePosition,
    add_noise_channels,
    noise_on_device,
    position_noise,
    slice_noise,
    with_noise,
)

META = torch.device("meta")  # without values: nothing can wait for one
LENGTHS = st.sampled_from([2.0, 2.5, 4.0, 6.0])


def splitmix(state):
    """Finaliser of SplitMix64, with Python's integers."""
    state &= 2**64 - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return state ^ (state >> 31)


def value_at(voxel, channel, seed, correlation_px):
    """Return the noise at one voxel by its definition: a weighted sum over lattice points."""
    golden, sigma = 0x9E3779B97F4A7C15, correlation_px / 2
    spacing = max(1, math.floor(sigma))
    reach = range(-9, 10)
    nearest = [round(v / spacing) for v in voxel]
    weights = [
        {n + k: round(1023 * math.exp(-(((v - (n + k) * spacing) / sigma) ** 2) / 2)) for k in reach}
        for v, n in zip(voxel, nearest, strict=True)
    ]
    total = 0
    start = splitmix(seed + (channel + 1) * golden)
    for z, wz in weights[0].items():
        plane = splitmix(start + (z + 1) * golden)
        for y, wy in weights[1].items():
            row = splitmix(plane + (y + 1) * golden)
            for x, wx in weights[2].items():
                if weight := wz * wy * wx:
                    total += weight * (2 * (splitmix(row + (x + 1) * golden) >> 51) - 8191)
    norm = math.prod(sum(w * w for w in each.values()) for each in weights)
    return total / math.sqrt(norm * (8192**2 - 1) / 3)


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(-(2**31), 2**31)] * 3), st.integers(0, 3), st.integers(0, 2**32 - 1), LENGTHS)
def test_the_value_of_a_voxel_is_that_of_the_definition(voxel, channel, seed, correlation_px):
    noise = position_noise(voxel, (1, 1, 1), channels=4, seed=seed, correlation_px=correlation_px)
    assert noise[channel, 0, 0, 0] == np.float32(value_at(voxel, channel, seed, correlation_px))


@settings(max_examples=25, deadline=None)
@given(st.data(), LENGTHS, st.integers(0, 2**32 - 1))
def test_any_part_has_the_bits_of_the_whole(data, correlation_px, seed):
    origin = data.draw(st.tuples(*[st.integers(-(10**6), 10**6)] * 3))
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 40), st.integers(1, 300)))
    first = [data.draw(st.integers(0, side - 1)) for side in shape]
    size = [data.draw(st.integers(1, side - start)) for side, start in zip(shape, first, strict=True)]
    about = {"channels": 2, "correlation_px": correlation_px, "seed": seed}
    whole = position_noise(origin, shape, **about)
    part = position_noise([o + f for o, f in zip(origin, first, strict=True)], size, **about)
    np.testing.assert_array_equal(whole[:, *(slice(f, f + n) for f, n in zip(first, size, strict=True))], part)


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.integers(-(2**31), 2**31)] * 3), LENGTHS, st.integers(0, 2**32 - 1))
def test_torch_gives_the_same_bits_as_numpy(origin, correlation_px, seed):
    about = {"channels": 2, "correlation_px": correlation_px, "seed": seed}
    tensor = position_noise(origin, (3, 17, 21), device="cpu", **about)
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor.numpy(), position_noise(origin, (3, 17, 21), **about))


POSITIONS = {
    "consecutive": [SlicePosition((-7, 10**8, 3), 1, seed=2**32 - 1).moved(number) for number in range(3)],
    "apart": [SlicePosition((number, -(10**number), 7 * number), 0, seed=number) for number in range(4)],
    "other axes": [SlicePosition((1, 2, 3), axis, seed=5) for axis in (0, 2, 2, 1)],
}


@pytest.mark.parametrize("max_bytes", [2**28, 2**18], ids=["in one piece", "in parts"])
@pytest.mark.parametrize("name", POSITIONS)
def test_slices_that_are_computed_together_have_the_bits_of_single_ones(monkeypatch, name, max_bytes):
    monkeypatch.setattr(noise_tensor, "MAX_BYTES", max_bytes)
    spec, positions = NoiseSpec(channels=2, correlation_px=5), POSITIONS[name]
    noise = noise_on_device(spec, positions, 70, 261, torch.device("cpu"))
    assert noise.dtype == torch.float32
    np.testing.assert_array_equal(noise.numpy(), [slice_noise(spec, each, 70, 261) for each in positions])


def operators_of_slices(side, slices):
    """Return what adding noise to slices dispatches on a device on which no value can be read."""
    images = torch.empty(slices, side, side, device=META)
    positions = [FIRST_SLICE.moved(number) for number in range(slices)]
    return count_operators(lambda: add_noise_channels(images, NoiseSpec(channels=1), positions))


def test_the_operators_for_slices_do_not_depend_on_their_size_and_number():
    counted = [operators_of_slices(side, slices) for side, slices in ((300, 2), (1024, 2), (1500, 3))]
    totals = [each.total for each in counted]
    assert max(totals) - min(totals) <= 2  # a change of shape may copy
    # 1,361 for each slice of 1024² before.
    assert max(totals) <= 145
    assert [each.synchronisations for each in counted] == [0, 0, 0]
    # One to the device, two change the type.
    assert [each.operators["aten._to_copy.default"] for each in counted] == [3, 3, 3]


@pytest.mark.gpu
def test_a_gpu_gives_the_same_bits():
    spec, position = NoiseSpec(channels=3, correlation_px=5), SlicePosition((-7, 10**8, 3), 1, seed=2**32 - 1)
    expected = slice_noise(spec, position, 500, 700)
    np.testing.assert_array_equal(slice_noise(spec, position, 500, 700, torch.device("cuda")), expected)


@pytest.mark.parametrize("correlation_px", [2.0, 3.0, 4.0, 5.0, 8.0])
def test_the_covariance_is_stationary_and_gaussian(correlation_px):
    """The covariance of two voxels follows from the weights: it needs no sample."""
    from tomostain.tiling.noise_field import _Axis

    length = 40
    axis = _Axis.of(1000, length, correlation_px)
    weights = axis.weights * axis.scale[:, None]
    covariance = weights @ weights.T  # the values at the lattice points are independent
    np.testing.assert_allclose(np.diag(covariance), 1, atol=1e-12)
    for distance in range(length):
        values = np.diag(covariance, distance)
        assert np.ptp(values) < 1e-3
        assert abs(values.mean() - math.exp(-((distance / correlation_px) ** 2))) < 0.01


def test_mean_variance_and_correlation_of_a_sample():
    # 400 independent places, far apart, so that the standard error is known: 1 / 20 of a standard deviation.
    places = [position_noise((0, 0, 1000 * n), (5, 9, 9), correlation_px=4.0)[0] for n in range(400)]
    sample = np.stack(places)
    assert np.abs(sample.mean(axis=0)).max() < 4.5 / 20  # 405 voxels, largest deviation
    assert abs(sample[:, 0, 0].mean()) < 3.5 / 20
    np.testing.assert_allclose((sample**2).mean(axis=0), 1, atol=4.5 * math.sqrt(2) / 20)
    along = [sample[:, 4, 0, 0], sample[:, 0, 4, 0], sample[:, 0, 0, 4]]
    for moved in along:
        assert abs((moved * sample[:, 0, 0, 0]).mean() - math.exp(-1)) < 3.5 * math.sqrt(1 + math.exp(-2)) / 20
    # Nearly normal: of 162,000 correlated values, 4.6 % beyond 2 standard deviations.
    assert 0.03 < (np.abs(sample) > 2).mean() < 0.06


def test_neighbouring_slices_are_similar_and_distant_ones_independent():
    noise = position_noise((0, 0, 0), (40, 96, 96), correlation_px=4.0)[0]

    def correlation(distance):
        return float(np.corrcoef(noise[0].ravel(), noise[distance].ravel())[0, 1])

    assert correlation(1) > 0.9
    assert abs(correlation(39)) < 0.1


def test_seeds_and_channels_are_independent():
    one = position_noise((0, 0, 0), (1, 200, 200), channels=2, seed=1)
    other = position_noise((0, 0, 0), (1, 200, 200), channels=2, seed=2)
    both = np.corrcoef([image.ravel() for image in (*one, *other)])
    # About 200² / (4 π) independent values: a standard error of 0.018.
    assert np.abs(both - np.eye(4)).max() < 0.08


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=f"noise seed {seed}: give a whole number from 0 to 4294967295"):
        position_noise((0, 0, 0), (1, 2, 2), seed=seed)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_along_any_axis_is_part_of_one_volume(axis):
    spec = NoiseSpec(channels=2, correlation_px=3)
    whole = position_noise((4, 5, 6), (7, 8, 9), channels=2, correlation_px=3, seed=11)
    rows, columns = (side for n, side in enumerate((7, 8, 9)) if n != axis)
    position = SlicePosition((4, 5, 6), axis, seed=11).moved(2)
    np.testing.assert_array_equal(slice_noise(spec, position, rows, columns), np.take(whole, 2, axis=axis + 1))


def test_noise_is_added_after_the_grey_values():
    ct = np.arange(12, dtype=np.uint16).reshape(3, 4)
    image = with_noise(ct, NoiseSpec(channels=2), FIRST_SLICE)
    np.testing.assert_array_equal(image[0], ct)
    np.testing.assert_array_equal(image[1:], position_noise((0, 0, 0), (1, 3, 4), channels=2)[:, 0])
    assert with_noise(np.stack([ct] * 3), NoiseSpec(channels=1), FIRST_SLICE).shape == (4, 3, 4)
    assert with_noise(ct, None, FIRST_SLICE) is ct
    assert with_noise(ct, NoiseSpec(), FIRST_SLICE) is ct


def test_unknown_keys_and_values_out_of_range_are_refused():
    with pytest.raises(InputError, match="unknown key 'chanels'; did you mean 'channels'"):
        NoiseSpec.from_dict({"chanels": 1})
    with pytest.raises(InputError, match=r"correlation_px = 1: .* greater than or equal to 2"):
        NoiseSpec.from_dict({"correlation_px": 1})
