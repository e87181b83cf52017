"""Metrics compared with closed forms and known properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.evaluate import (
    background_colour,
    evaluate_images,
    fill_background,
    patch_grid,
    patch_metrics,
    psnr,
    ssim,
)
from tomostain.evaluate.metrics.base import Metric
from tomostain.evaluate.metrics.patch import PatchOptions, measure_patches

few = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**31)


def images(seed, shape=(24, 20)):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(2)]


@pytest.mark.parametrize("offset", [1, 10, 100])
def test_psnr_of_a_constant_offset(offset):
    # MSE of a constant offset d is d², so PSNR = 20 log10(255 / d).
    a = np.full((8, 9, 3), 50, np.uint8)
    assert psnr(a, a + np.uint8(offset)) == pytest.approx(20 * math.log10(255 / offset))


def test_ssim_of_two_constant_images():
    # Variances and covariance vanish: SSIM = (2ab + C1) / (a² + b² + C1) with C1 = (0.01 · 255)² (Wang et al. 2004).
    a, b, c1 = 100.0, 130.0, (0.01 * 255) ** 2
    expected = (2 * a * b + c1) / (a**2 + b**2 + c1)
    assert ssim(np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 130, np.uint8)) == pytest.approx(expected)


def test_ssim_against_the_formula_in_one_window():
    # In a 7 × 7 image scikit-image's mean is over the one full window, with the sample variance (n - 1).
    a, b = images(3, (7, 7))
    x, y = a.reshape(49, 3).astype(float), b.reshape(49, 3).astype(float)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my, vx, vy = x.mean(0), y.mean(0), x.var(0, ddof=1), y.var(0, ddof=1)
    cov = ((x - mx) * (y - my)).sum(0) / 48
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(a, b) == pytest.approx(expected.mean())


@few
@given(seeds)
def test_metrics_are_symmetric_and_best_for_equal_images(seed):
    a, b = images(seed)
    assert ssim(a, b) == pytest.approx(ssim(b, a))
    assert psnr(a, b) == psnr(b, a)
    assert ssim(a, a) == pytest.approx(1)
    assert ssim(a, b) <= 1
    assert psnr(a, a) == math.inf


@few
@given(seeds, st.integers(8, 40), st.integers(8, 40))
def test_nothing_outside_the_mask_counts(seed, rows, columns):
    fake, real = images(seed, (rows, columns))
    rng = np.random.default_rng(seed)
    mask = rng.random((rows, columns)) < 0.8
    changed = np.where(mask[..., None], fake, rng.integers(0, 256, fake.shape, dtype=np.uint8))
    values = [[list(record.values()) for record in patch_metrics(x, real, mask, 16)] for x in (fake, changed)]
    assert len(values[0]) >= 1
    np.testing.assert_array_equal(*values)  # to the bit; NaN equals NaN


@few
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40))
def test_patches_stay_inside_and_cover_the_image_when_steps_are_no_longer_than_patches(rows, columns, patch, stride):
    stride = min(stride, patch)
    covered = np.zeros((rows, columns), int)
    for place in patch_grid((rows, columns), patch, stride):
        assert place.row + place.height <= rows
        assert place.column + place.width <= columns
        assert (place.height, place.width) == (min(patch, rows), min(patch, columns))
        covered[place.slices] += 1
    assert covered.min() >= 1


def test_patches_with_less_than_half_in_the_mask_are_left_out():
    fake, real = images(0, (16, 48))
    mask = np.zeros((16, 48), bool)
    mask[:, :8] = True  # exactly half of the first patch
    mask[:, 40:] = True
    mask[0, 40] = False  # one pixel less than half of the third
    records = patch_metrics(fake, real, mask, 16)
    assert [(r["row"], r["column"], r["overlap"]) for r in records] == [(0, 0, 0.5)]


def test_half_overlap_with_equal_background_raises_psnr_by_three_decibels():
    # Half of the squared error is replaced by the fill: 10 log10 2 = 3.01 dB.
    real, fake = np.full((16, 16, 3), 90, np.uint8), np.full((16, 16, 3), 100, np.uint8)
    mask = np.arange(16)[None, :] < np.full((16, 1), 8)
    (half,) = patch_metrics(fake, real, mask, 16)
    assert half["psnr"] - psnr(fake, real) == pytest.approx(10 * math.log10(2))


def test_small_images_are_one_patch_and_metrics_without_room_are_nan():
    fake, real = images(0, (5, 40))
    (record,) = patch_metrics(fake, real)
    assert (record["height"], record["width"], record["overlap"]) == (5, 40, 1.0)
    assert math.isnan(record["ssim"])
    assert math.isnan(record["lpips"])
    assert record["psnr"] == pytest.approx(psnr(fake, real))


def test_background_colour_is_the_mean_of_the_empty_slide_despite_loose_tissue():
    histology = np.full((20, 20, 3), (240, 236, 244), np.uint8)
    histology[::2] += 2
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    histology[mask] = (120, 40, 160)
    histology[:3] = (60, 30, 150)  # stray tissue outside the mask
    np.testing.assert_allclose(background_colour(histology, mask), (241, 237, 245), atol=1)
    assert background_colour(histology, np.ones((20, 20), bool)).tolist() == [255, 255, 255]


@pytest.mark.parametrize(("distance", "counts"), [(20, True), (21, False), (29, False)])
def test_background_is_within_20_grey_values_of_the_median(distance, counts):
    histology = np.full((10, 10, 3), 200, np.uint8)
    histology[:2] -= np.uint8(distance)
    mask = np.zeros((10, 10), bool)
    expected = 200 - round(0.2 * distance) if counts else 200
    assert background_colour(histology, mask).tolist() == [expected] * 3


def test_filling_changes_neither_the_inside_nor_the_input():
    image, mask = images(1)[0], np.zeros((24, 20), bool)
    mask[3:9] = True
    before = image.copy()
    filled = fill_background(image, mask, np.array([1, 2, 3], np.uint8))
    assert (filled[mask] == image[mask]).all()
    assert (filled[~mask] == (1, 2, 3)).all()
    assert (image == before).all()


def test_images_in_memory_give_one_record_a_patch():
    fakes, reals = zip(*(images(seed, (32, 32)) for seed in range(2)), strict=True)
    seen = []
    records = evaluate_images(
        fakes, reals, model="m", ids=["a", "b"], patch_px=16, progress=lambda *report: seen.append(report)
    )
    assert [(r["model"], r["pair"]) for r in records] == [("m", "a")] * 4 + [("m", "b")] * 4
    assert records[4]["psnr"] == pytest.approx(psnr(fakes[1][:16, :16], reals[1][:16, :16]))
    assert seen[-1] == ("comparing m", 2, 2)


def test_wrong_input_is_named():
    a = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=r"\(8, 8, 3\) and \(8, 9, 3\)"):
        psnr(a, np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(InputError, match="float64"):
        ssim(a, a.astype(float))
    with pytest.raises(InputError, match="7 px or more"):
        ssim(a[:6], a[:6])
    with pytest.raises(InputError, match=r"mask of shape \(4, 4\)"):
        patch_metrics(a, a, np.ones((4, 4), bool))
    with pytest.raises(InputError, match="patch_px = 0"):
        patch_grid((8, 8), 0)


@pytest.mark.parametrize(("distance", "counts"), [(20, True), (21, False), (29, False)])
def test_the_background_is_within_20_grey_values_of_the_median(distance, counts):
    histology = np.full((10, 10, 3), 240, np.uint8)
    histology[:4] = 240 - distance
    colour = background_colour(histology, np.zeros((10, 10), bool))
    expected = 240 - 0.4 * distance if counts else 240
    np.testing.assert_allclose(colour, np.full(3, expected), atol=0.51)


def test_patches_are_compared_by_ssim_and_psnr_by_default():
    names = [metric.name for metric in PatchOptions().metrics]
    assert {"ssim", "psnr", "lpips"} <= {*names}
    assert len(names) == len({*names})


def test_patches_have_the_side_of_the_paper_by_default():
    for options in (PatchOptions(), PatchOptions.of()):
        assert (options.patch_px, options.stride_px) == (256, None)
        assert {metric.name for metric in options.metrics} == {"ssim", "psnr", "lpips"}
        assert {metric.scope for metric in options.metrics} == {"patch"}
    assert PatchOptions.of(64, 32).patch_px == 64
    assert PatchOptions.of(64, 32).stride_px == 32


def test_a_metric_gets_the_stained_patch_first():
    brightness = Metric("brightness", lambda stained, real: stained.mean() - real.mean(), "brightness", False)
    stained, real = (np.full((16, 16, 3), value, np.uint8) for value in (200, 50))
    mask = np.ones((16, 16), bool)
    records = measure_patches(stained, real, mask, PatchOptions(metrics=(brightness,), patch_px=16, stride_px=16))
    assert [record["brightness"] for record in records] == [150]


def test_patch_metrics_use_patches_of_256_px():
    stained, real = images(0, (257, 256))
    assert [(r["row"], r["height"], r["width"]) for r in patch_metrics(stained, real)] == [(0, 256, 256), (1, 256, 256)]
