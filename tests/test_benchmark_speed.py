"""The speed benchmark: what it compares does the same, and its tables say what was measured."""

import pytest
from benchmarks.speed import growth, report, sampling
from benchmarks.speed.measure import as_rows, paired
from benchmarks.speed.staining import slice_flop, translator

from tomostain.io import open_stained, read_image
from tomostain.stain import StainConfig


def test_the_loop_over_scikit_image_cuts_what_the_sampler_cuts():
    found = sampling.measure(1, patch=48, batch=6)
    assert found["largest_difference"] < 2e-3  # the sampler's places are float32


def test_ratios_are_taken_within_a_round_and_reported_with_their_range():
    ticks = iter([0, 4, 4, 5, 5, 15, 15, 20])
    rows = as_rows(paired({"a": int, "b": int}, 2, warm=False, flop=10, clock=lambda: next(ticks)))
    assert report.timing_table(rows, 10.0)[-1] == "| b | 3 (1–5) | 3.00 (2.00–4.00) | 0 | 33% |"


def test_a_slices_operations_are_those_of_its_patches():
    model = translator("paired-cyclegan-cpu", fast=True)
    patch = slice_flop(model, 128, StainConfig())
    assert slice_flop(model, 256, StainConfig(stride_px=64)) == 9 * patch
    # A convolution's operations grow with the area, but for the borders that reflection adds.
    channel = translator("paired-cyclegan-cpu", fast=True, norm="channel")
    whole = slice_flop(channel, 256, StainConfig(blend="exact"))
    assert whole == 4 * patch


@pytest.mark.parametrize("series", growth.SERIES)
def test_what_grows_is_what_the_series_says(series, tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "SIDE", 128)
    monkeypatch.setattr(growth, "STEPS", 1)
    least = {"edge": 64, "edge, overlapping": 128}.get(series, 2)
    result = growth.work_of(series, least, tmp_path)()
    if series.startswith("edge"):
        assert result.shape == (least, least, 3)
    elif series == "slices":
        assert open_stained(result).shape == (least, 128, 128)
    else:
        assert all(value < float("inf") for values in result for value in values.values())


def test_growth_is_told_with_its_line_and_drawn(tmp_path):
    points = [{"value": n, "seconds": 1.0 + 0.5 * n, "peak_mb": 300.0, "before_mb": 290.0} for n in (8, 16, 32)]
    told = growth.table({"slices": points})
    assert "8: 5 (300), 16: 9 (300), 32: 17 (300)" in told
    assert "1 + 0.5 · slices | 0% |" in told
    growth.draw({"slices": points}, tmp_path / "growth.png")
    assert read_image(tmp_path / "growth.png").std() > 10
