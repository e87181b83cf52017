"""The three protocols of a comparison, and their intervals."""

import csv
import io

import numpy as np
import pytest
from scipy import ndimage

from tomostain.evaluate.metrics.patch import PatchOptions, background_colour, patch_metrics
from tomostain.evaluate.metrics.shift_tolerant import shift_tolerant_metrics
from tomostain.evaluate.protocols import (
    IMPLANT_EXCLUDED,
    PAPER,
    PROTOCOLS,
    SHIFT_TOLERANT,
    implant_region,
    intervals_csv,
    measure_protocols,
)

SIDE = 128


def section(seed: int = 0) -> np.ndarray:
    """Glass around purple tissue with a black screw across it."""
    rng = np.random.default_rng(seed)
    picture = np.full((SIDE, SIDE, 3), 245.0)
    tissue = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 2)[10:-10, 10:-10, None]
    picture[10:-10, 10:-10] = np.array([150, 120, 180]) + 300 * tissue
    picture[10:-10, 56:72] = 8
    return np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def protocols_of(fake: np.ndarray, real: np.ndarray) -> dict[str, list[dict]]:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:-10, 10:-10] = True
    colour = background_colour(real, mask)
    options = PatchOptions(patch_px=64)
    records = measure_protocols(fake, real, mask, options, colour=colour, implant=implant_region(real))
    return {protocol: [r for r in records if r["protocol"] == protocol] for protocol in PROTOCOLS}


def test_the_screw_is_the_large_black_region():
    real = section()
    real[20:22, 20:22] = 5
    region = implant_region(real)
    drawn = np.zeros((SIDE, SIDE), bool)
    drawn[10:-10, 56:72] = True
    assert region[drawn].all()
    assert not region[~ndimage.binary_dilation(drawn, iterations=4)].any()


def test_the_papers_view_is_the_papers_metric():
    real, fake = section(0), section(1)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:-10, 10:-10] = True
    plain = patch_metrics(fake, real, mask, 64, colour=background_colour(real, mask))
    seen = [{k: v for k, v in r.items() if k != "protocol"} for r in protocols_of(fake, real)[PAPER]]
    for a, b in zip(seen, plain, strict=True):
        np.testing.assert_equal(a, b)


def test_the_screw_flatters():
    # The brightness of the drawn screw changes the score of the paper, but not the score without the screw.
    real, fake = section(0), section(1)
    views = protocols_of(fake, real)
    grey = fake.copy()
    grey[10:-10, 56:72] = 90
    lost = protocols_of(grey, real)
    assert np.mean([r["psnr"] for r in lost[PAPER]]) < np.mean([r["psnr"] for r in views[PAPER]]) - 1
    inside = [(a["psnr"], b["psnr"]) for a, b in zip(lost[IMPLANT_EXCLUDED], views[IMPLANT_EXCLUDED], strict=True)]
    np.testing.assert_allclose(*np.array(inside).T, atol=0.05)


def test_a_shift_of_two_pixels_costs_nothing_in_the_tolerant_view():
    real = section(0)
    views = protocols_of(np.roll(real, 2, axis=0), real)
    paper, tolerant = (np.median([r["ssim"] for r in views[v]]) for v in (PAPER, SHIFT_TOLERANT))
    assert tolerant > paper + 0.1


def test_intervals_are_over_subjects_and_pairs():
    records = [
        {"model": model, "pair": f"p{i}", "row": 0, "column": j, "protocol": PAPER, "lpips": np.nan, "psnr": 10.0 + i}
        | {"ssim": 0.5 + 0.1 * (model == "a") + 0.01 * i}
        for model in "ab"
        for i in range(4)
        for j in range(3)
    ]
    rows = list(csv.DictReader(io.StringIO(intervals_csv(records, {f"p{i}": f"s{i // 2}" for i in range(4)}))))
    assert [(r["metric"], r["model"], r["minus"]) for r in rows] == [
        ("ssim", "a", ""),
        ("ssim", "a", "b"),
        ("ssim", "b", ""),
        ("psnr", "a", ""),
        ("psnr", "a", "b"),
        ("psnr", "b", ""),
    ]
    difference = rows[1]
    assert [float(difference[key]) for key in ("median", "low", "high")] == pytest.approx([0.1] * 3)
    assert (difference["patches"], difference["images"], difference["subjects"]) == ("12", "4", "2")


def test_the_shift_is_that_of_the_tissue():
    # A stained image that is exact but displaced: the filled background does not move with it.
    real = section(0)
    for record in protocols_of(np.roll(real, (2, -1), axis=(0, 1)), real)[SHIFT_TOLERANT]:
        assert record["ssim"] == pytest.approx(1.0)
        assert record["psnr"] == np.inf


def test_the_shift_tolerant_protocol_fills_the_patches_outside_the_mask():
    real, fake = section(0), section(1)
    record = protocols_of(fake, real)[SHIFT_TOLERANT][0]
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:-10, 10:-10] = True
    patch = np.s_[record["row"] : record["row"] + 64, record["column"] : record["column"] + 64]
    colour = background_colour(real, mask)
    expected = shift_tolerant_metrics(fake[patch], real[patch], mask=mask[patch], colour=colour)
    assert record["ssim"] == expected["ssim"]
