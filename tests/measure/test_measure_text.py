"""Measures as text: tables for the terminal and the page."""

import math

from tomostain.measure.measures import Definition, Measure
from tomostain.measure.rows import measure_rows
from tomostain.measure.text import measures_table, measures_text, regions_table

BIC = Definition("trial_bic", "BIC", "contact", "%", 3, "trial-1", "")
BV = Definition("trial_bv", "BV/TV", "bone", "%", 3, "trial-1", "")
LOSS = Definition("trial_loss", "VL", "loss", "%", 3, "trial-1", "")


def rows():
    measures = [Measure(BIC, 41.0, sd_model=3.0, sd_registration=4.0), Measure(LOSS, math.nan)]
    shells = [Measure(BV, 30.0, region="0-100 µm"), Measure(BV, 20.0, region="100-250 µm")]
    result = measure_rows(measures + shells, specimen="a", source="stained")
    result += measure_rows(shells[:1], specimen="a", source="stained", voxels="without refused")
    return result + measure_rows(measures[:1], specimen="a", source="ct")


def test_a_column_for_each_source():
    header, table = measures_table(rows())
    assert header == ["measure", "symbol", "stained", "ct", "unit"]
    assert table == [["contact", "BIC", "41.0 ± 5.0", "41.0 ± 5.0", "%"], ["loss", "VL", "–", "", "%"]]


def test_a_column_for_each_region():
    header, table = regions_table(rows())
    assert header == ["measure", "source", "0-100 µm", "100-250 µm"]
    assert table == [
        ["BV/TV [%]", "stained", "30", "20"],
        ["BV/TV [%]", "stained, without refused", "30", ""],
    ]


def test_text_is_aligned():
    first, second = measures_text(rows()).split("\n\n")
    lines = first.splitlines()
    assert [line.index("41.0") for line in lines[1:2]] == [lines[0].index("stained")]
    assert second.startswith("measure    source")
    assert measures_text([]) == ""
