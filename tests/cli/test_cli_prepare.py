"""The verb `prepare`."""

import numpy as np
import tifffile


def test_unequal_pair_shapes(tmp_path, fails):
    for name, shape in (("x", (40, 40)), ("y", (40, 41, 3))):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", np.full(shape, 7, np.uint8))
    line = fails("prepare", "--aligned", tmp_path / "x", tmp_path / "y", tmp_path / "d", "--voxel-um", 5)
    assert "40" in line
    assert "41" in line
    assert not (tmp_path / "d").exists()


def test_wrong_number_of_paths(tmp_path, fails):
    assert "expected SPECIMENS.csv DATASET" in fails("prepare", tmp_path)
    assert "only with --aligned" in fails("prepare", tmp_path, tmp_path / "d", "--halves")
    paths = (tmp_path / "x", tmp_path / "y", tmp_path / "d")
    assert "--ct-slices: only without --aligned" in fails("prepare", "--aligned", *paths, "--ct-slices", 3)
