"""The lattice metric on lattices of known amplitude, on flat images, and on the truth of a phantom."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.evaluate.metrics import ImageSample, get_metric
from tomostain.evaluate.metrics.grid import NOISE, STRIDES, lattice_excess, lattice_ratios
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.laboratory import make_slide

SIDE = 256


def noise(seed: int, sigma: float = 10.0, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    return 128 + np.random.default_rng(seed).normal(0, sigma, (*shape, 3))


def image_of(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def wave(stride: int, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """A wave along y of period `stride` and amplitude 1."""
    return np.cos(2 * np.pi * np.arange(shape[0]) / stride)[:, None, None] * np.ones((1, shape[1], 3))


def sample_of(stained: np.ndarray, real: np.ndarray, mask: np.ndarray) -> ImageSample:
    return ImageSample("p", stained, real, mask, 20.0)


@pytest.mark.parametrize(("stride", "amplitude"), [(4, 1.0), (8, 2.0), (16, 2.0)])
def test_a_wave_in_white_noise_has_its_analytic_ratio(stride, amplitude):
    # White noise of variance σ² has the power n σ² at each frequency, with the fade n Σ w² / n. A wave of amplitude A
    # adds (A Σ w / 2)² at ±1/s. With the fade w over 8 px, Σ w and Σ w² are those of the code's distance transform.
    sigma = 10.0
    inside = np.zeros((SIDE + 2, SIDE + 2))
    inside[1:-1, 1:-1] = 1
    fade = np.minimum(ndimage.distance_transform_edt(inside)[1:-1, 1:-1] / 8, 1)
    variance = sigma**2 + amplitude**2 / 2
    power = (amplitude * fade.sum() / 2) ** 2 / (variance + 1 / 12 + NOISE**2)
    floor = (fade**2).sum() * (sigma**2 + 1 / 12 + NOISE**2) / (variance + 1 / 12 + NOISE**2)
    expected = (16 + 8 + 2 * power / floor) / 24
    measured = [lattice_ratios(image_of(noise(seed) + amplitude * wave(stride)))[stride] for seed in range(6)]
    assert np.mean(measured) == pytest.approx(expected, rel=0.1)


def test_noise_has_no_lattice():
    ratios = np.array([list(lattice_ratios(image_of(noise(seed))).values()) for seed in range(20)])
    assert ratios.shape == (20, len(STRIDES))
    assert ratios.mean() == pytest.approx(1.0, abs=0.05)
    assert ratios.max() < 2.5


@pytest.mark.parametrize("stride", STRIDES)
def test_the_stride_of_a_lattice_is_found(stride):
    dots = np.zeros((SIDE, SIDE, 1))
    dots[::stride, ::stride] = 1
    width = max(0.5, stride / 8)
    dots = ndimage.gaussian_filter(dots, (width, width, 0), mode="wrap")
    dotted = lattice_ratios(image_of(noise(0) - 20 * dots / dots.max()))
    # Dots of a period have harmonics at the shorter strides, and nothing at the longer ones.
    assert dotted[stride] > 3
    assert all(dotted[longer] < 2.5 for longer in STRIDES if longer > stride)


def test_a_period_that_is_not_a_stride_does_not_count():
    for period in (12, 20, 11.3):
        assert lattice_excess(image_of(noise(0) + 20 * wave(period)), image_of(noise(1))) == pytest.approx(1, abs=0.3)


def test_rows_of_dots_in_air_are_found_although_the_mask_excludes_them():
    # A straight border would have power at all frequencies of one axis.
    border = 45 + 8 * np.sin(np.arange(SIDE) / 11) + np.arange(SIDE) / 20
    mask = np.arange(SIDE)[:, None] > border
    tissue = ndimage.gaussian_filter(np.random.default_rng(3).normal(0, 400, (SIDE, SIDE)), 4)[..., None]
    real = image_of(np.where(mask[..., None], 150 + tissue + np.zeros(3), 250.0))
    stained = image_of(ndimage.gaussian_filter(real.astype(float), (1, 1, 0)))
    metric = get_metric("grid")
    clean = metric.compute(sample_of(stained, real, mask))
    assert clean["background"] == pytest.approx(1, abs=0.2)
    stained[8:32:16, ::16] = 0
    dotted = metric.compute(sample_of(stained, real, mask))
    assert dotted["background"] > 2
    assert dotted["all"] > clean["all"]


def test_woven_texture_in_a_part_of_the_tissue_is_found():
    tissue = ndimage.gaussian_filter(np.random.default_rng(3).normal(0, 400, (SIDE, SIDE)), 4)[..., None]
    real = image_of(150 + tissue + np.zeros(3))
    marrow = np.zeros((SIDE, SIDE, 1))
    marrow[60:180, 40:160] = 1
    woven = 16 * wave(16) * wave(16).transpose(1, 0, 2) * marrow
    stained = ndimage.gaussian_filter(150 + tissue + np.zeros(3), (1, 1, 0))
    assert lattice_excess(image_of(stained), real) == pytest.approx(1, abs=0.2)
    assert lattice_excess(image_of(stained + woven), real) > 1.8


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(40, 200), st.integers(40, 200))
def test_finite_for_any_size_and_one_for_equal_images(seed, rows, columns):
    real, other = (image_of(noise(seed + n, 20.0, (rows, columns))) for n in range(2))
    assert lattice_excess(real, real) == 1.0
    assert 0 < lattice_excess(other, real) < 10
    flipped = lattice_excess(other[::-1], real[::-1])
    transposed = lattice_excess(other.transpose(1, 0, 2), real.transpose(1, 0, 2))
    assert transposed == pytest.approx(lattice_excess(other, real), rel=1e-6)
    assert np.isfinite(flipped)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 255), st.integers(0, 255))
def test_flat_images_have_one(first, second):
    a, b = (np.full((100, 120, 3), value, np.uint8) for value in (first, second))
    assert lattice_excess(a, b) == pytest.approx(1, abs=1e-9)
    b[::16, ::16] += np.uint8(128)
    assert np.isfinite(lattice_excess(a, b))
    assert lattice_excess(b, a) > 1.5


def test_small_images_and_regions_have_no_value():
    tiny = np.zeros((7, 50, 3), np.uint8)
    assert np.isnan(lattice_excess(tiny, tiny))
    assert list(lattice_ratios(np.zeros((60, 60, 3), np.uint8))) == [2, 4, 8]
    large = np.zeros((64, 64, 3), np.uint8)
    assert np.isnan(lattice_excess(large, large, np.zeros((64, 64), bool)))
    with pytest.raises(InputError, match="shapes"):
        lattice_excess(large, tiny)


def test_two_slides_of_a_phantom_have_no_lattice():
    """Two sections of one specimen, 200 µm apart, stand for a perfect generator and the truth."""
    config = PhantomConfig.from_dict({"seed": 5, "shape": (16, 96, 96), "voxel_um": 20.0, "pixel_um": 10.0})
    anatomy = grow_anatomy(config)
    slides = [make_slide(anatomy, plane, (160, 160)).rgb for plane in phantom_planes(config)]
    assert lattice_excess(*slides) == pytest.approx(1, abs=0.3)
    assert lattice_excess(*slides[::-1]) == pytest.approx(1, abs=0.3)


def phantom_planes(config):
    from tomostain.geometry.section import Section

    along_y, along_x = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    return [Section(np.array([z, 160.0, 160.0]), along_y, along_x) for z in (60.0, 260.0)]
