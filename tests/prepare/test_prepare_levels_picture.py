"""The picture of the grey levels: lines where the levels lie, colours where voxels are near them, one line of words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.io import read_image, write_stack
from tomostain.prepare import Levels, volume_levels
from tomostain.prepare.levels_picture import BACKGROUND, BONE, bin_edges, draw_levels, mark_levels, write_levels_picture


def slices(dtype=np.uint16):
    """Return blocks of bone (900) in background (100), with noise."""
    rng = np.random.default_rng(0)
    grey = np.full((6, 60, 80), 100.0)
    grey[:, 10:50, 30:60] = 900.0
    return np.rint(grey + rng.normal(0, 8, grey.shape)).astype(dtype)


def column_of(picture, colour):
    """Return the column of the longest upright line of a colour, px."""
    alike = (np.abs(picture.astype(int) - colour).max(axis=2) < 30).sum(axis=0)
    assert alike.max() > 100
    return int(alike.argmax())


def test_the_lines_lie_where_the_levels_are():
    # Levels given by hand have no spread, so that only the lines are drawn; the range is that of the grey values.
    samples = slices()
    bone = [column_of(draw_levels(samples, Levels(200, value)), BONE) for value in (400, 600, 800)]
    background = [column_of(draw_levels(samples, Levels(value, 800)), BACKGROUND) for value in (200, 400, 600)]
    assert bone[0] + 20 < bone[1] < bone[2] - 20
    assert abs((bone[2] - bone[1]) - (bone[1] - bone[0])) <= 2  # a linear axis
    assert abs(background[1] - bone[0]) <= 1  # one axis for both
    assert abs(background[2] - bone[1]) <= 1


@pytest.mark.parametrize(("low", "high"), [(0, 231), (3, 255), (6000, 6900), (0, 65535)])
def test_whole_numbers_leave_no_gaps_in_the_histogram(low, high):
    samples = np.arange(low, high + 1, dtype=np.float64)
    edges = bin_edges(samples, low, high)
    counts, _ = np.histogram(samples, edges)
    assert len(set(counts[1:-1].tolist())) == 1
    assert counts.sum() == samples.size
    assert 16 <= len(counts) <= 258
    assert len(bin_edges(samples + 0.25, low, high)) == 257


@given(st.floats(-1e4, 1e4), st.floats(1.0, 1e4), st.lists(st.floats(-1.0, 2.0), min_size=1, max_size=8))
def test_what_is_near_a_level_is_coloured_in_any_scale(zero, step, parts):
    levels = Levels(zero, zero + step)
    marked = mark_levels(zero + step * np.array([parts]), levels)[0].astype(int)
    for part, (red, green, blue) in zip(parts, marked, strict=True):
        if abs(part) < 0.049:
            assert blue > red + 40
        elif abs(part - 1) < 0.049:
            assert red > blue + 40
        elif abs(part) > 0.051 and abs(part - 1) > 0.051:
            assert red == green == blue


def test_a_volume_gets_the_levels_that_staining_takes(tmp_path):
    from tomostain.io import open_volume

    write_stack(tmp_path / "reco", slices(np.float32), voxel_um=5.0)
    found = write_levels_picture(tmp_path / "reco", tmp_path / "levels.png")
    assert found == volume_levels(open_volume(tmp_path / "reco"))
    assert found.background == pytest.approx(100, abs=2)
    picture = read_image(tmp_path / "levels.png")
    assert picture.shape[2] == 3
    assert column_of(picture, BACKGROUND) < column_of(picture, BONE)
    given = Levels(50, 800)
    assert write_levels_picture(tmp_path / "reco", tmp_path / "given.png", levels=given) is given


def test_what_is_refused(tmp_path):
    write_stack(tmp_path / "reco", slices(), voxel_um=5.0)
    with pytest.raises(InputError, match=r"must be named \*\.png"):
        write_levels_picture(tmp_path / "reco", tmp_path / "levels.jpg")
    (tmp_path / "levels.png").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        write_levels_picture(tmp_path / "reco", tmp_path / "levels.png")
    assert (tmp_path / "levels.png").read_text() == "mine"
    write_stack(tmp_path / "air", np.random.default_rng(0).integers(90, 110, (3, 40, 40), np.uint16), voxel_um=5.0)
    with pytest.raises(InputError, match="no bone stands out"):
        write_levels_picture(tmp_path / "air", tmp_path / "air.png")
    assert not (tmp_path / "air.png").exists()


def test_a_dry_run_writes_it_and_nothing_else(tmp_path, capsys):
    from benchmarks.volumes.common import random_model

    model = random_model(tmp_path / "model", width=2)
    write_stack(tmp_path / "reco", slices(), voxel_um=5.0)
    words = ["stain", model, tmp_path / "reco", tmp_path / "out.ome.zarr", "--dry-run", "--histogram"]
    assert run([str(word) for word in [*words, tmp_path / "levels.png"]]) == 0
    assert f"grey levels: {tmp_path / 'levels.png'}" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["levels.png", "model", "reco"]
    assert run([str(word) for word in [*words, tmp_path / "b.png", "--normalised"]]) == 2
    assert "with --normalised no grey levels are sought" in capsys.readouterr().err
