"""The turned slide keeps its truth, and the report counts right."""

import json

import numpy as np

from studies.registration.planar_reliability import VARIANTS, turned
from studies.registration.planar_report import report


def test_a_point_of_the_slide_returns_after_the_turn():
    rgb = np.full((60, 80, 3), 255, dtype=np.uint8)
    rgb[20:23, 50:53] = 0
    slide, turn, offset = turned(rgb, 37.0, mirror=True)
    dark = np.argwhere(slide[..., 0] < 128).mean(axis=0)
    np.testing.assert_allclose(turn @ dark + offset, [21.0, 51.0], atol=0.3)


def test_the_report_counts_wrong_and_sure_by_both_rules(tmp_path):
    blocks = {"agreeing_blocks": 40, "distinct_blocks": 40, "chance": 1e-9, "held_out_edges_um": 8.0}
    record = {"variant": next(iter(VARIANTS)), "metrics_differ_um": 0.0, "margin": 0.4} | blocks
    rows = [
        record | {"specimen": "b000", "right": True, "error_px": 0.5, "former_confidence": 1.0},
        record | {"specimen": "b001", "right": False, "former_confidence": 0.6, "metrics_differ_um": 80.0},
        record | {"specimen": "b014", "right": True, "error_px": 0.7, "former_confidence": 0.0},
        {"specimen": "b002", "variant": "noise", "refused": "no tissue"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = report(path)
    for table in text.strip().split("\n\n"):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| test, odd | former | 1 | 0 | 1 | 0 | 1 | 0 | 0.00 (0.00–0.79) |" in text
    assert "| test, odd | present | 1 | 0 | 0 | 0 | 0 | 0 | – |" in text
    assert "| all | present | 3 | 2 | 2 | 2 | 0 | 0 | 1.00 (0.34–1.00) |" in text
    assert "| right plane | 3 | 2 | 1 | 1 | 2 | 0 | 0.60 |" in text
    assert "| 0.95 to 1 | 2 | 2 | 1.00 (0.34–1.00) |" in text


def test_registrations_of_the_present_rule_need_no_former_confidence(tmp_path):
    row = {"specimen": "b000", "variant": "noise", "right": True, "error_px": 0.5, "held_out_edges_um": None}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row | {"metrics_differ_um": 0.0, "margin": 0.4, "chance": 1.0}))
    text = report(path)
    assert "former |" not in text
    assert "| 0.25 to 0.5 | 1 | 1 | 1.00 (0.21–1.00) |" in text
