"""The verb `phantom`: size and orientation of the specimen."""

import pytest
import yaml

from tomostain.cli.main import run


def test_sides_of_different_length_and_the_orientation(tmp_path):
    out = tmp_path / "specimen"
    words = ("--size", "16,20,24", "--orientation", "lying", "--voxel-um", 80, "--pixel-um", 80)
    assert run(["-q", "phantom", str(out), *map(str, words)]) == 0
    values = yaml.safe_load((out / "specimen.yaml").read_text(encoding="utf-8"))["config"]
    assert values["shape"] == [16, 20, 24]
    assert values["orientation"] == "lying"


def test_one_number_is_a_cube(tmp_path, capsys):
    assert run(["phantom", str(tmp_path / "specimen"), "--size", "64", "--dry-run"]) == 0
    assert "64 x 64 x 64 voxels" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["15", "64,256,8", "20.5", "64,64"])
def test_sizes_that_are_none_are_refused(fails, tmp_path, size):
    assert "--size" in fails("phantom", tmp_path / "specimen", "--size", size)


def test_an_unknown_orientation_is_refused(fails, tmp_path):
    assert "'random', 'upright' or 'lying'" in fails("phantom", tmp_path / "specimen", "--orientation", "flat")
