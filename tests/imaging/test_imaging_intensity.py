"""Normalise images whose levels are known by construction."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError, SaturationWarning
from tomostain.imaging.colour import (
    ColourReference,
    colour_reference_from_rois,
    estimate_colour_reference,
    normalise_histology,
    white_balance,
)
from tomostain.imaging.intensity import IntensityReference, full_range_reference, normalise_ct, reference_from_rois
from tomostain.imaging.intensity_estimation import estimate_reference, manual_reference, volume_reference
from tomostain.imaging.regions import block_mean
from tomostain.io import Volume
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.tissue import Label
from tomostain.phantom.tomography import tomograph
from tomostain.prepare.aligned_files import full_range

SHAPE = (240, 260)
ROWS, COLUMNS = np.indices(SHAPE)
TISSUE = np.hypot(ROWS - 120, COLUMNS - 130) < 95
HOLES = ((ROWS // 14 + COLUMNS // 14) % 3 == 0) & (np.hypot(ROWS - 120, COLUMNS - 130) > 45)
SCREW = (abs(ROWS - 120) < 60) & (abs(COLUMNS - 130) < 22)


def specimen(screw: float, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Return air 0, soft tissue 0.12, bone 1 and the given screw level, blurred and with noise."""
    image = np.zeros(SHAPE)
    image[TISSUE] = 1.0
    image[TISSUE & HOLES] = 0.12
    image[SCREW] = screw
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(image, 0.8) + noise * rng.standard_normal(SHAPE)


# Relative brightness at 25-45 keV: Mg like bone, Ti several times brighter, PEEK like soft tissue (paper section 2.2).
@pytest.mark.parametrize("screw", [1.0, 0.85, 3.0, 6.0, 9.0, 0.15, 0.3])
@pytest.mark.parametrize("noise", [0.02, 0.12])
def test_known_levels_are_found_for_every_screw(screw, noise):
    scan = (specimen(screw, noise) * 5000 + 12000).astype(np.float32)
    normalised = normalise_ct(scan, estimate_reference(scan)).astype(float)
    outside = np.hypot(ROWS - 120, COLUMNS - 130) > 105
    bone = ndimage.binary_erosion(TISSUE & ~HOLES & ~ndimage.binary_dilation(SCREW, iterations=4), iterations=4)
    within = 0.01 if screw != 0.85 else 0.06  # a screw slightly darker than bone counts as bone
    assert normalised[outside].mean() == pytest.approx(10000, abs=20000 * 0.02)
    assert normalised[bone].mean() == pytest.approx(30000, rel=within)


def test_levels_do_not_mind_padding_outside_the_reconstruction():
    scan = (specimen(1.0) * 5000 + 12000).astype(np.uint16)
    padded = np.where(np.hypot(ROWS - 119.5, COLUMNS - 129.5) > 119, 0, scan)
    levels = estimate_reference(padded)
    assert levels.background == pytest.approx(12000, abs=150)
    assert levels.bone == pytest.approx(17000, abs=150)


def test_levels_of_a_noise_free_image_are_exact():
    image = np.full(SHAPE, 100, np.uint8)
    image[TISSUE] = 200
    levels = estimate_reference(image)
    assert (levels.background, levels.bone) == (100.0, 200.0)


@given(st.floats(0.01, 100), st.floats(-1000, 1000))
@settings(max_examples=10, deadline=None)
def test_levels_follow_the_grey_scale_of_the_scan(scale, offset):
    image = specimen(3.0)
    once, again = estimate_reference(image), estimate_reference(image * scale + offset)
    assert again.background == pytest.approx(once.background * scale + offset, abs=0.02 * scale)
    assert again.bone == pytest.approx(once.bone * scale + offset, abs=0.02 * scale)


@pytest.mark.parametrize(("screw", "soft"), [(8.0, 0.1), (8.0, 0.4), (4.0, 0.25), (0.95, 0.1), (0.2, 0.25)])
def test_levels_of_an_oblique_screw_in_spongy_bone(screw, soft):
    """A tilted cylinder of 2 mm in a random sponge of bone, with 28 µm voxels, inside the wall of a tube."""
    rng = np.random.default_rng(1)
    z, y, x = np.indices((64, 160, 160)) - np.array([32, 80, 80])[:, None, None, None]
    along = 0.6 * z + 0.8 * y
    radius = np.sqrt((z**2 + y**2 - along**2).clip(0) + x**2)
    sponge = ndimage.gaussian_filter(rng.standard_normal(z.shape), 3.2)
    volume = np.zeros(z.shape)
    volume[radius < 70] = soft
    bone = (radius < 70) & (sponge > 0.2 * sponge.std())
    volume[bone] = 1.0
    volume[(radius < 35) & (abs(along) < 60)] = screw
    wall = np.hypot(y, x)
    volume[(wall > 74) & (wall < 77)] = 0.18
    volume = ndimage.gaussian_filter(volume, 0.7) + 0.08 * rng.standard_normal(z.shape)
    levels = volume_reference(Stack(volume * 4000 + 9000))
    assert (levels.bone - 9000) / 4000 == pytest.approx(1.0, abs=0.04)
    assert (levels.background - 9000) / 4000 == pytest.approx(0.0, abs=0.06)


class Stack:
    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.seen = array, array.shape, []

    def read(self, start: int, stop: int) -> np.ndarray:
        self.seen.append((start, stop))
        return self.array[start:stop]


@pytest.mark.parametrize("screw", [1.0, 1.6, 2.5, 6.0])
def test_levels_of_a_wide_field_in_which_the_screw_is_small(screw):
    # As in a whole bone with its screw: most slices show only bone, and the screw is a seventh of the solid volume.
    rng = np.random.default_rng(2)
    spongy = ndimage.gaussian_filter(rng.standard_normal((12, 200, 200)), (1, 4, 4))
    volume = np.where(spongy > np.quantile(spongy, 0.7), 1.0, 0.1)
    rows, columns = np.indices((200, 200)) - 100
    volume[:, np.hypot(rows, columns) > 95] = 0.0
    volume[5:8, 60:140, 85:115] = screw
    volume = ndimage.gaussian_filter(volume, (0, 0.7, 0.7)) + rng.normal(0, 0.03, volume.shape)
    levels = estimate_reference((volume * 5000 + 12000).astype(np.float32))
    bone = np.median(volume[(spongy > np.quantile(spongy, 0.8)) & (volume < 1.2)])  # truth: excluding the edges
    assert levels.background == pytest.approx(12000, abs=150)
    assert levels.bone == pytest.approx(12000 + 5000 * bone, abs=0.04 * 5000)


def test_levels_of_a_volume_come_from_a_few_slices():
    volume = Stack(np.stack([specimen(3.0, seed=n) for n in range(20)]).astype(np.float32))
    levels = volume_reference(volume, n_slices=4)
    assert volume.seen == [(2, 3), (7, 8), (12, 13), (17, 18)]
    assert levels.bone == pytest.approx(1.0, abs=0.02)
    assert levels.background == pytest.approx(0.0, abs=0.02)
    assert levels.bone_px > 1000


def test_bad_scans_are_named():
    with pytest.raises(InputError, match=r"scan\.tif: every grey value is 7"):
        estimate_reference(np.full((50, 50), 7, np.uint16), "scan.tif")
    image = specimen(1.0)
    image[3, 4] = np.nan
    with pytest.raises(InputError, match=r"scan\.tif: 1 grey values are NaN"):
        estimate_reference(image, "scan.tif")
    with pytest.raises(InputError, match=r"volume, slice 1: holds NaN"):
        volume_reference(Stack(np.stack([specimen(1.0), image, specimen(1.0)])), 3, "volume")
    with pytest.raises(InputError, match="no bone is brighter than the"):
        estimate_reference(np.random.default_rng(0).normal(size=(200, 200)))
    with pytest.raises(InputError, match="holds no pixels"):
        estimate_reference(np.zeros((0, 5)))


def test_levels_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="bone 5 and background 10"):
        IntensityReference(10, 5)
    with pytest.raises(InputError, match="bone nan"):
        IntensityReference(10, float("nan"))


def test_levels_from_boxes():
    image = np.zeros((20, 20))
    image[10:] = 8.0
    levels = reference_from_rois(image, (0, 5, 0, 20), (12, 20, 0, 20))
    assert (levels.background, levels.bone, levels.bone_px) == (0.0, 8.0, 160)
    with pytest.raises(InputError, match=r"\[0, 25, 0, 20\] is not a box in an image of 20 x 20 px"):
        reference_from_rois(image, (0, 25, 0, 20), (12, 20, 0, 20))


@given(st.integers(0, 2**31), st.floats(-500, 500), st.floats(1, 20000))
@settings(max_examples=20, deadline=None)
def test_normalisation_is_idempotent(seed, background, step):
    """The grey values of a normalised scan are 10000 and 30000, and normalising by them changes nothing."""
    scan = np.random.default_rng(seed).uniform(background - 0.4 * step, background + 2.7 * step, 500)
    once = normalise_ct(scan, IntensityReference(background, background + step))
    again = normalise_ct(once, IntensityReference(10000.0, 30000.0))
    assert again.tobytes() == once.tobytes()
    levels = IntensityReference(background, background + step)
    assert normalise_ct(np.array([levels.background, levels.bone]), levels).tolist() == [10000, 30000]


def test_bone_is_the_mean_without_the_lowest_and_highest_twentieth():
    """A few voxels that are brighter or darker than bone, such as rings and cracks, do not move its grey value."""
    scan = specimen(1.0, noise=0.0)
    bone = ndimage.binary_erosion(TISSUE & ~HOLES, iterations=3)
    places = np.flatnonzero(bone)[::30]  # 3 % of bone
    for value in (1.6, 0.75):
        changed = scan.copy()
        changed.flat[places] = value
        assert estimate_reference(changed).bone == pytest.approx(estimate_reference(scan).bone, abs=0.005)


def test_normalised_values_are_clipped_to_16_bits():
    assert normalise_ct(np.array([-100.0, 0.0, 1.0, 100.0]), IntensityReference(0, 1)).tolist() == [
        0,
        10000,
        30000,
        65535,
    ]


@pytest.mark.parametrize("shape", [(7, 9), (2, 50), (6, 6, 3)])
def test_block_mean_of_a_constant_is_the_constant(shape):
    assert (block_mean(np.full(shape, 3.0), 4) == 3.0).all()


# --- histology -----------------------------------------------------------------------------------------------------

BACKGROUND, PURPLE, BLUE = np.array([215, 225, 200]), np.array([150, 90, 140]), np.array([110, 140, 185])


def slide(seed: int = 0) -> np.ndarray:
    """A yellowish slide: purple bone with a black screw, surrounded by blue soft tissue."""
    image = np.broadcast_to(BACKGROUND, (*SHAPE, 3)).astype(float)
    image[np.hypot(ROWS - 120, COLUMNS - 130) < 110] = BLUE
    image[TISSUE & ~HOLES] = PURPLE
    image[SCREW] = 15
    noise = np.random.default_rng(seed).normal(0, 2.0, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def test_the_background_becomes_grey_and_bright():
    levels = estimate_colour_reference(slide())
    np.testing.assert_allclose(levels.white, BACKGROUND, atol=0.5)
    out = normalise_histology(slide())
    corner = out[:15, :15].reshape(-1, 3).mean(axis=0)
    assert np.ptp(corner) < 1.0
    assert corner.min() > 245


def test_the_bounds_are_the_papers_percentiles():
    rgb = slide()
    levels = estimate_colour_reference(rgb)
    bone = ndimage.binary_erosion(TISSUE & ~HOLES & ~SCREW, iterations=3)
    background = np.hypot(ROWS - 120, COLUMNS - 130) > 114
    balanced = white_balance(rgb, BACKGROUND)
    assert levels.fmin == min(10.0, np.percentile(balanced[bone], 1))
    assert levels.fmax == pytest.approx(np.percentile(balanced[background], 99), abs=1)
    out = normalise_histology(rgb, levels)
    assert np.percentile(out[bone], 1) > 10  # no part of the bone becomes black
    assert np.percentile(out[background], 99) == pytest.approx(255, abs=1)


def test_fill_outside_the_slide_is_not_background():
    rgb, valid = slide(), np.ones(SHAPE, bool)
    valid[:, :70] = False
    rgb[~valid] = 255
    np.testing.assert_allclose(estimate_colour_reference(rgb, valid).white, BACKGROUND, atol=0.5)


@given(
    st.lists(st.integers(60, 200), min_size=3, max_size=3),
    st.lists(st.floats(180, 255), min_size=3, max_size=3),
    st.floats(0, 50),
)
@settings(max_examples=25, deadline=None)
def test_one_scale_for_all_channels_preserves_chromaticity(colour, white, fmin):
    levels = ColourReference((white[0], white[1], white[2]), fmin, 255.0)
    out = normalise_histology(np.array([[colour]], np.uint8), levels)[0, 0].astype(float)
    balanced = white_balance(np.array([[colour]], np.uint8), white)[0, 0]
    c = 255 / (255 - fmin)
    inside = (out > 0) & (out < 255)
    np.testing.assert_allclose(out[inside], ((balanced - fmin) * c)[inside], atol=0.51)


def test_slides_without_background_or_tissue_are_named():
    with pytest.raises(InputError, match=r"slide\.png: no bright background"):
        estimate_colour_reference(np.full((50, 50, 3), 200, np.uint8), source="slide.png")
    noise = np.random.default_rng(0).integers(238, 250, (100, 100, 3)).astype(np.uint8)
    with pytest.raises(InputError, match=r"slide\.png: no tissue"):
        estimate_colour_reference(noise, source="slide.png")


def test_histology_levels_from_boxes():
    rgb = slide()
    levels = colour_reference_from_rois(rgb, (0, 15, 0, 15), (100, 140, 60, 80))
    np.testing.assert_allclose(levels.white, BACKGROUND, atol=0.5)
    with pytest.raises(InputError, match="not brighter than bone"):
        colour_reference_from_rois(rgb, (100, 140, 120, 140), (0, 15, 0, 15))


def test_black_is_the_first_percentile_of_bone_and_at_most_ten():
    rgb = np.full((20, 101, 3), 255, np.uint8)
    rgb[10:] = np.arange(101, dtype=np.uint8)[:, None]  # its first percentile is 1
    assert colour_reference_from_rois(rgb, (0, 10, 0, 101), (10, 20, 0, 101)).fmin == pytest.approx(1.0)
    rgb[10:] += 50
    reference = colour_reference_from_rois(rgb, (0, 10, 0, 101), (10, 20, 0, 101))
    assert (reference.fmin, reference.fmax) == (10, 255)


@pytest.mark.parametrize("white", [(0.0, 200.0, 200.0), (200.0, 200.0, -1.0)])
def test_every_channel_of_white_must_be_above_zero(white):
    with pytest.raises(InputError, match="white must be above 0"):
        ColourReference(white, 0.0, 255.0)


@pytest.mark.parametrize("outlier", [0.35, 1.5])
def test_a_few_voids_and_mineral_specks_do_not_change_the_grey_value_of_bone(outlier):
    # 3 % of the bone are single pixels that are darker or brighter; without them bone is 1.
    image = np.zeros(SHAPE)
    image[TISSUE] = 1.0
    image += 0.02 * np.random.default_rng(0).standard_normal(SHAPE)
    rows, columns = np.nonzero(np.hypot(ROWS - 120, COLUMNS - 130) < 90)
    chosen = np.random.default_rng(1).permutation(len(rows))[: len(rows) * 3 // 100]
    plain = estimate_reference(image)
    image[rows[chosen], columns[chosen]] = outlier
    reference = estimate_reference(image)
    # The mean of all pixels would move by 3 % of the distance to the outliers: 0.015 or 0.02.
    assert reference.bone == pytest.approx(plain.bone, abs=0.004)
    assert reference.background == pytest.approx(plain.background, abs=0.004)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16])
def test_the_full_range_is_scaled_as_prepare_does(kind):
    ct = np.linspace(np.iinfo(kind).min, np.iinfo(kind).max, 50).astype(kind)
    scaled = normalise_ct(ct, full_range_reference(kind))
    limits = np.array([[np.iinfo(kind).min, np.iinfo(kind).max]], ct.dtype)
    assert normalise_ct(limits, full_range_reference(kind)).tolist() == [[0, 40000]]
    np.testing.assert_allclose(scaled, full_range(ct, Path("image")).astype(float), atol=1)
    with pytest.raises(InputError, match="scan: is float32, which has no full range"):
        full_range_reference(np.float32, "scan")


@pytest.mark.parametrize("seed", [41002, 41014])
def test_titanium_above_the_grey_scale_is_not_bone(seed):
    """Thin parts of a screw that is cut off at 65535 look like bone in slices of any orientation."""
    rng = np.random.default_rng([seed, 1])
    tomography = {"energy_kev": round(rng.uniform(25, 60), 1)}
    config = PhantomConfig.from_dict(
        {
            "seed": seed,
            "material": "Ti",
            "weeks": 4,
            "shape": (60, 104, 104),
            "voxel_um": 40.0,
            "tomography": tomography,
        }
    )
    ct, labels = tomograph(grow_anatomy(config))
    assert (ct == 65535).mean() > 0.02
    reference = estimate_reference(ct[2::5])
    air, bone = (float(np.median(ct[labels == label])) for label in (Label.AIR, Label.BONE))
    assert reference.bone - air == pytest.approx(bone - air, rel=0.15)


def test_bone_that_is_cut_off_is_still_bone():
    """Without brighter metal, the matter at the top of the grey scale is bone, not a screw."""
    rng = np.random.default_rng(0)
    image = np.full((3, 120, 120), 60.0)
    image[:, 20:100, 20:100] = 85.0
    for column in range(26, 96, 24):
        image[:, 24:96, column : column + 14] = 300.0
    scan = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    with pytest.warns(
        SaturationWarning, match=r"scan: \d+% of what is taken for bone .* grey value \(255\): .* `ct_bone`"
    ):
        assert estimate_reference(scan, "scan").bone == pytest.approx(255, abs=2)
    volume = Volume.from_array(scan, voxel_um=5.0, name="scan")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert manual_reference(volume, None, 200.0).bone == 200


def smoothed(image, rng, noise):
    """Return an image as a scanner of 16 bits records it: blurred, noisy and cut off."""
    blurred = np.stack([ndimage.gaussian_filter(plane, 0.7) for plane in image])
    return np.clip(np.rint(blurred + rng.normal(0, noise, image.shape)), 0, 65535).astype(np.uint16)


@pytest.mark.parametrize("bone", [24_900, 30_000, 37_000])
def test_bone_next_to_titanium_may_have_a_fifth_of_the_grey_scale(bone):
    rng = np.random.default_rng(1)
    image = np.full((3, 220, 220), 13_700.0)
    for column in range(6, 216, 26):
        image[:, :, column : column + 13] = bone
    image[:2, np.hypot(*np.ogrid[-110:110, -110:110]) < 75] = 120_000.0
    image[2, 20:200, 104:116] = 120_000.0  # a slice through the edge of the screw
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference = estimate_reference(smoothed(image, rng, 1200))
    assert reference.bone == pytest.approx(bone, abs=300)
    assert reference.background == pytest.approx(13_700, abs=100)


@pytest.mark.parametrize(("head", "shaft", "bone"), [(60, 28, 30_000), (80, 38, 24_900), (80, 38, 37_000)])
def test_the_shaft_of_a_titanium_screw_may_be_much_thinner_than_its_head(head, shaft, bone):
    rng = np.random.default_rng(3)
    image = np.full((6, 260, 260), 13_700.0)
    for column in range(4, 256, 26):
        image[:, :, column : column + 13] = bone
    radius = np.hypot(*np.ogrid[-130:130, -130:130])
    for plane, size in zip(image, (head, *[shaft] * 5), strict=True):
        plane[radius < size] = 90_000.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert estimate_reference(smoothed(image, rng, 1200)).bone == pytest.approx(bone, abs=500)


def test_a_thick_place_in_porous_bone_that_is_cut_off_is_no_screw():
    """The blurred edges of bone have up to all of its contrast: they are not the bone next to a screw."""
    rng = np.random.default_rng(2)
    image = np.full((3, 220, 220), 13_700.0)
    image[:, 100:130, 10:40] = 90_000.0
    for column in range(60, 140, 20):
        image[:, :, column : column + 10] = 90_000.0
    for column in range(150, 216, 10):  # trabeculae as thin as the blur
        image[:, :, column : column + 5] = 34_000.0
    with pytest.warns(SaturationWarning):
        assert estimate_reference(smoothed(image, rng, 1200)).bone > 60_000


def test_all_values_of_a_large_volume_are_normalised():
    # More than one task (2^21 values) and an incomplete last part of 2^15.
    values = (np.arange(2**22 + 2**15 + 77) % 40_000).astype(np.uint16)
    expected = np.rint(np.clip(values * 2.0 + 500, 0, 65535)).astype(np.uint16)
    reference = IntensityReference(background=4750.0, bone=14_750.0)
    np.testing.assert_array_equal(normalise_ct(values, reference), expected)


@pytest.mark.parametrize(("background", "bone"), [(10, float("inf")), (float("-inf"), 10), (float("nan"), 10)])
def test_both_levels_must_be_finite(background, bone):
    with pytest.raises(InputError, match="both must be finite"):
        IntensityReference(background, bone)


def test_a_slide_of_one_colour_has_no_scale():
    with pytest.raises(InputError, match=r"background \(240\) is not brighter than bone \(240\)"):
        colour_reference_from_rois(np.full((20, 20, 3), 240, np.uint8), (0, 8, 0, 8), (10, 20, 10, 20))
