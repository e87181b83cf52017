"""Compare landmarks with a known pose, and report errors in a hint."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.register.test_register_poses import section
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.register.hints import (
    COLUMNS,
    check_start,
    fit_section,
    landmark_errors_um,
    read_axis,
    read_landmarks,
    write_landmarks,
)


def test_landmarks_give_back_the_pose(tmp_path):
    true = section(4)
    slide = np.random.default_rng(0).uniform(0, 4000, (5, 2))
    volume = true.to_volume_um(true.slide_to_section_um(slide))
    lines = [",".join(f"{x:.4f}" for x in (*a, *b)) for a, b in zip(slide, volume, strict=True)]
    path = tmp_path / "points.csv"
    path.write_text("\n".join([",".join(COLUMNS), *lines]))
    landmarks = read_landmarks(path)
    np.testing.assert_allclose(landmarks.to_volume_um(landmarks.slide_to_section_um(slide)), volume, atol=0.01)


@pytest.mark.parametrize(
    ("slide", "volume", "message"),
    [
        ([[0, 0], [1, 1]], [[0, 0, 0], [1, 1, 1]], "2 points; at least three"),
        ([[0, 0], [1, 1], [2, 2]], np.eye(3), "on one line"),
        ([[0, 0], [1, np.nan], [0, 1]], np.eye(3), "point 2 is not finite"),
        ([[0, 0], [1, 0], [0, 1]], [[0, 0, 0], [9, 0, 0], [0, 9, 0]], "stretch the slide 9"),
    ],
)
def test_points_that_fix_no_plane_are_refused(slide, volume, message):
    with pytest.raises(InputError, match=message):
        fit_section(np.array(slide, float), np.array(volume, float))


@pytest.mark.parametrize("text", ["a,b,c", "1,2", "0,0,0", "nan,1,1"])
def test_an_axis_is_three_numbers(text):
    with pytest.raises(InputError, match="`axis`"):
        read_axis(text)


def test_an_incomplete_table_of_points_names_the_missing_columns(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("slide_row_um,z_um\n1,2\n")
    with pytest.raises(InputError, match="needs the columns slide_row_um, slide_column_um"):
        read_landmarks(path)
    path.write_text(",".join(COLUMNS) + "\n1,2,3,4,x\n")
    with pytest.raises(InputError, match="not a number"):
        read_landmarks(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_landmarks(tmp_path / "none.csv")


def test_a_start_pose_that_misses_the_volume_is_refused():
    start = Section(np.array([0.0, 50.0, 0.0]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    check_start(start, (10, 20, 30), (5.0, 5.0, 5.0))
    with pytest.raises(InputError, match=r"through \(0, 5000, 0\) µm misses the volume of \(50, 100, 150\) µm"):
        check_start(replace(start, origin_um=np.array([0.0, 5000.0, 0.0])), (10, 20, 30), (5.0, 5.0, 5.0))


@given(st.integers(0, 10**6), st.integers(3, 12))
@settings(max_examples=60, deadline=None)
def test_a_rigid_fit_gives_back_any_rotation(seed, count):
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    true = Section(rng.uniform(0, 3000, 3), frame[:, 0], frame[:, 1])
    slide = rng.uniform(0, 4000, (count, 2))
    slide[:3] = [[0, 0], [4000, 500], [300, 3000]]
    volume = true.to_volume_um(slide)
    for strain in (False, True):
        fitted = fit_section(slide, volume, strain=strain)
        assert landmark_errors_um(fitted, slide, volume).max() < 1e-6
        np.testing.assert_allclose(fitted.normal, true.normal, atol=1e-9)


def test_a_rigid_fit_minimises_the_squared_distances():
    rng = np.random.default_rng(3)
    true = section(4)
    slide = rng.uniform(0, 4000, (6, 2))
    volume = true.to_volume_um(slide) + rng.normal(0, 30, (6, 3))
    fitted = fit_section(slide, volume, strain=False)
    np.testing.assert_array_equal(fitted.slide_to_section, [[1, 0, 0], [0, 1, 0]])
    best = (landmark_errors_um(fitted, slide, volume) ** 2).sum()
    for _ in range(50):
        turned = np.linalg.qr(np.column_stack([fitted.row, fitted.column]) + rng.normal(0, 1e-3, (3, 2)))[0]
        turned *= np.sign((turned * np.column_stack([fitted.row, fitted.column])).sum(axis=0))
        other = Section(fitted.origin_um + rng.normal(0, 2, 3), turned[:, 0], turned[:, 1])
        assert (landmark_errors_um(other, slide, volume) ** 2).sum() > best
    # An affine follows the errors of the points, so it is closer to them.
    assert (landmark_errors_um(fit_section(slide, volume), slide, volume) ** 2).sum() < best


def test_a_table_of_points_is_read_as_it_was_written(tmp_path):
    true, path = section(4), tmp_path / "points.csv"
    slide = np.array([[0.0, 0], [1000, 200], [100, 900]])
    volume = true.to_volume_um(true.slide_to_section_um(slide))
    write_landmarks(path, slide, volume)
    table = pd.DataFrame(np.column_stack([slide, volume]), columns=list(COLUMNS))
    assert path.read_bytes() == table.to_csv(index=False, float_format="%.3f", lineterminator="\n").encode()
    assert landmark_errors_um(read_landmarks(path), slide, volume).max() < 0.01
    with pytest.raises(InputError, match="exists already"):
        write_landmarks(path, slide, volume)
    write_landmarks(path, slide + 1, volume, overwrite=True)
