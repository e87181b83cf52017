"""The turned slide keeps its truth, and the report counts right."""

import json

import numpy as np

from studies.registration.planar_reliability import VARIANTS, report, turned


def test_a_point_of_the_slide_returns_after_the_turn():
    rgb = np.full((60, 80, 3), 255, dtype=np.uint8)
    rgb[20:23, 50:53] = 0
    slide, turn, offset = turned(rgb, 37.0, mirror=True)
    dark = np.argwhere(slide[..., 0] < 128).mean(axis=0)
    np.testing.assert_allclose(turn @ dark + offset, [21.0, 51.0], atol=0.3)


def test_the_report_counts_wrong_and_sure(tmp_path):
    record = {"specimen": "a", "variant": next(iter(VARIANTS)), "sure": True}
    rows = [
        record | {"right": True, "error_px": 0.5, "confidence": 1.0},
        record | {"right": False, "error_px": 9.0, "confidence": 0.6},
        record | {"refused": "no tissue"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = report(path)
    assert "| right plane | 2 | 1 | 2 | 1 | 1 | 0.50 |" in text
    assert "| 0.5 to 0.75 | 1 | 0 | 0.00 |" in text
    assert "| 0.95 to 1 | 1 | 1 | 1.00 |" in text
