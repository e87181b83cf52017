"""`tomostain check MODEL --against VOLUME…`: one line per volume, and the verdict."""

import numpy as np
import pytest
import tifffile

import tomostain as ts
from tests.support.toys import toy_model
from tomostain.cli.main import run
from tomostain.dataset.pair import Pair
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.inspection import check_against
from tomostain.io import load_model, open_volume, save_model, write_stack
from tomostain.ood.grey_values import solid_quantiles
from tomostain.ood.novelty import training_reference


def scan(path, implant=2.5, noise=60, seed=0):
    block = np.zeros((8, 64, 64))
    block[:, 16:48, 12:50] = 1.0
    block[:, 28:36, 28:36] = implant
    values = 1000 + 4000 * block + np.random.default_rng(seed).normal(0, noise, block.shape)
    write_stack(path, values.clip(0, 65535).astype(np.uint16), voxel_um=5.0)
    return path


@pytest.fixture
def model(tmp_path):
    """A model that stores the grey values and neighbourhoods of a scan."""
    plain = load_model(toy_model(tmp_path / "plain"))
    volume = open_volume(scan(tmp_path / "training"))
    ct = normalise_ct(volume.read(0, 8), volume_reference(volume))
    pairs = [
        Pair(f"p{z}", ct[z], np.zeros((64, 64, 3), np.uint8), np.ones((64, 64), bool), 5.0) for z in range(len(ct))
    ]
    spec = plain.spec.model_copy(update={"greys": [tuple(solid_quantiles(pair.ct).tolist()) for pair in pairs]})
    save_model(tmp_path / "model", spec, plain.state, training_reference=training_reference(pairs).to_arrays())
    return tmp_path / "model"


def test_each_volume_has_a_line_and_a_verdict(model, tmp_path, capsys):
    same, other = scan(tmp_path / "same", seed=1), scan(tmp_path / "other", implant=1.5, noise=300, seed=1)
    assert run(["check", str(model), "--against", str(same), str(other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{same}: grey-value distance 0.0")
    assert lines[0].endswith("covered by the training data")
    assert lines[1].startswith(f"{other}: ")
    assert lines[1].endswith("out of distribution")
    (line,) = check_against(model, [scan(tmp_path / "noise", noise=900, seed=1)])
    assert line.endswith("not compared")
    assert "stain it with both grey values" in line
    assert "configuration" not in line
    assert list(check_against(model, [same, other])) == lines


def test_arrays_and_volumes_are_compared_like_files(model, tmp_path):
    path = scan(tmp_path / "same", seed=1)
    (expected,) = ts.compare_with_training(model, [path])
    volume = open_volume(path)
    array = volume.read(0, 8)
    for volumes in (path, volume, (array, 5.0), [(array, 5.0)], iter([volume])):
        (comparison,) = ts.compare_with_training(load_model(model), volumes)
        assert comparison.report.to_dict() == expected.report.to_dict()
    (comparison,) = ts.compare_with_training(model, array, voxel_um=5.0)
    assert comparison.report.to_dict() == expected.report.to_dict()
    with pytest.raises(ts.InputError, match="voxel size of an array is unknown"):
        list(ts.compare_with_training(model, array))


def test_more_paths_need_the_option(model, capsys):
    assert run(["check", str(model), str(model)]) == 2
    assert "name volumes for a model after --against" in capsys.readouterr().err


def test_models_without_a_reference_are_refused(tmp_path, capsys):
    plain = toy_model(tmp_path / "plain")
    assert run(["check", str(plain), "--against", str(scan(tmp_path / "scan"))]) == 2
    assert "has no training reference" in capsys.readouterr().err


def test_a_volume_that_cannot_be_read_is_an_error(model, tmp_path, capsys):
    damaged = scan(tmp_path / "damaged", seed=1)
    for file in sorted(damaged.glob("*.tif")):
        image = tifffile.imread(file)
        tifffile.imwrite(file, image, compression="zlib", metadata=None)
        content = bytearray(file.read_bytes())
        with tifffile.TiffFile(file) as tif:
            start, size = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
        content[start + size // 3 : start + size // 2] = bytes(size // 2 - size // 3)
        file.write_bytes(content)
    assert run(["check", str(model), "--against", str(damaged), "--voxel-um", "5"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
