"""The table's figures, text, CSV and HTML, and the pictures."""

import csv
import io
import math

import numpy as np
import pandas as pd
import pytest

from tomostain.evaluate import Summary, Table, captioned_row, difference_image, draw_boxplots

NAN = math.nan
RECORDS = [
    {"model": "ours", "ssim": 0.5, "lpips": 0.2, "psnr": 14.0},
    {"model": "ours", "ssim": 0.7, "lpips": 0.1, "psnr": 16.0},
    {"model": "ours", "ssim": 0.6, "lpips": NAN, "psnr": 15.0},
    {"model": "raw µCT", "ssim": 0.15, "lpips": 0.4, "psnr": 5.0},
]

TEXT = """\
model    SSIM ↑                  LPIPS (AlexNet) ↓       PSNR / dB ↑          patches
-------  ----------------------  ----------------------  -------------------  -------
ours     0.600 [0.550, 0.650] *  0.150 [0.125, 0.175] *  15.0 [14.5, 15.5] *  3
raw µCT  0.150 [0.150, 0.150]    0.400 [0.400, 0.400]    5.0 [5.0, 5.0]       1

Median [quartiles] over patches; * best median.
A note.
"""


@pytest.fixture
def table():
    return Table.from_records(RECORDS, lpips_label="LPIPS (AlexNet)", notes=("A note.",))


def test_text(table):
    assert table.to_text() == TEXT


def test_csv_holds_every_figure_and_names_the_network(table):
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert len(rows) == 6
    assert rows[1] == {
        "model": "ours", "metric": "LPIPS (AlexNet)", "median": rows[1]["median"], "q1": rows[1]["q1"],
        "q3": rows[1]["q3"], "n": "2", "best": "1",
    }  # fmt: skip
    assert float(rows[1]["median"]) == pytest.approx(0.15)
    assert [row["best"] for row in rows] == ["1", "1", "1", "0", "0", "0"]


def test_rich_table_has_a_row_a_model(table):
    assert table.to_rich().row_count == 2


def test_best_goes_by_the_direction_of_the_metric(table):
    assert table.best("lpips") == ("ours",)
    tied = Table.from_records([{**RECORDS[3], "model": "a"}, {**RECORDS[3], "model": "b"}])
    assert tied.best("ssim") == ("a", "b")


def test_a_metric_that_was_not_computed_has_no_column():
    table = Table.from_records([{**record, "lpips": NAN} for record in RECORDS])
    assert table.metrics == ("ssim", "psnr")
    assert table.best("lpips") == ()
    assert "LPIPS" not in table.to_text()


def test_summary_is_numpys_quantiles_without_nan():
    values = np.random.default_rng(0).random(17)
    summary = Summary.of([*values, NAN])
    assert (summary.q1, summary.median, summary.q3) == pytest.approx(tuple(np.quantile(values, [0.25, 0.5, 0.75])))
    assert summary.n == 17
    assert Summary.of([]).n == 0
    assert math.isnan(Summary.of([NAN]).median)


def test_equal_images_have_infinite_median_psnr():
    assert Summary.of([math.inf, math.inf]).median == math.inf
    assert Summary.of([10.0, math.inf, math.inf]).median == math.inf


def test_boxplots_draw_each_model_in_its_colour(table):
    figure = draw_boxplots(RECORDS, table)
    assert figure.dtype == np.uint8
    assert figure.shape[2] == 3
    # The first box is filled with matplotlib's C0 (31, 119, 180), half transparent on white.
    blue = np.abs(figure.astype(int) - (143, 187, 217)).max(axis=2) <= 3
    assert blue.sum() > 100


def test_a_table_without_records_has_no_metrics():
    """A protocol may have no patches, for example if the implant fills the only one."""
    frame = pd.DataFrame(columns=["model", "ssim", "lpips", "psnr"])
    table = Table.from_records(frame)
    assert table.metrics == ()
    assert table.rows == {}


def test_boxplots_leave_infinite_values_out():
    records = [{**record, "psnr": math.inf} for record in RECORDS]
    assert draw_boxplots(records, Table.from_records(records)).std() > 0


def test_pictures_are_in_a_row_below_their_captions():
    red, blue = np.zeros((10, 30, 3), np.uint8), np.zeros((10, 20, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    sheet = captioned_row({"a long caption that does not fit": red, "b": blue})
    assert sheet.shape == (32, 54, 3)
    assert (sheet[22:, :30] == (255, 0, 0)).all()
    assert (sheet[22:, 34:] == (0, 0, 255)).all()
    assert (sheet[22:, 30:34] == 255).all()


def test_difference_has_no_wrap_around():
    a, b = np.full((2, 2, 3), 3, np.uint8), np.full((2, 2, 3), 250, np.uint8)
    assert (difference_image(a, b) == 247).all()
    assert (difference_image(a, b) == difference_image(b, a)).all()
