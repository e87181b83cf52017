"""The verb `prepare`."""

import numpy as np
import tifffile

from tomostain.cli.main import run
from tomostain.dataset.dataset import load_dataset


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


def test_the_subjects_of_the_test_set_are_named(tmp_path, capsys):
    random = np.random.default_rng(0)
    for folder, shape in (("x", (20, 20)), ("y", (20, 20, 3))):
        (tmp_path / folder).mkdir()
        for name in ("a1", "a2", "b1", "b2", "c1"):
            tifffile.imwrite(tmp_path / folder / f"{name}.tif", random.integers(0, 256, shape, np.uint8))
    paths = [str(tmp_path / name) for name in ("x", "y", "d")]
    options = ["--voxel-um", "5", "--normalise", "range", "--mask", "none", "--subject-regex", "(.)"]
    assert run(["-q", "prepare", "--aligned", *paths, *options, "--test-subjects", "b,c"]) == 0
    out = capsys.readouterr().out
    assert "5 pairs, 0 folds, 3 for testing" in out
    assert "testing: 2 subjects: b, c" in out
    assert "note:" not in out
    assert load_dataset(tmp_path / "d").load("a1").stain == "unknown"
    paths[-1] = str(tmp_path / "d2")
    assert run(["-q", "prepare", "--aligned", *paths, *options, "--test-fraction", "0", "--stain", "h&e"]) == 0
    assert load_dataset(tmp_path / "d2").load("a1").stain == "h&e"
    assert (
        "no pair is left for testing; to evaluate a model, prepare the dataset with --halves" in capsys.readouterr().out
    )
