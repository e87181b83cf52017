"""Staining a volume of another voxel size: the result is that of the resampled volume."""

import numpy as np
import pytest

from tests.support.toys import LEVELS, colours, contents, grey_values, toy_model
from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.imaging.resampling import resample_volume
from tomostain.inspection import check_against
from tomostain.io import Volume, open_stained, open_volume, write_image, write_stack
from tomostain.stain import StainConfig, StainJob, StainRequest, plan_volume, stain_image, stain_volume

SHAPE = (9, 36, 41)
CONFIG = StainConfig(patch_px=32, stride_px=16, z_chunk=4)
COARSE_UM = (10.0, 7.0, 7.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes") / "volume"
    write_stack(folder, grey_values(SHAPE), voxel_um=COARSE_UM)
    return folder


@pytest.fixture(scope="module")
def expected(model, volume):
    resampled = Volume.from_array(resample_volume(volume, 5.0)[:], 5.0, name="volume")
    return stain_volume(model, resampled, config=CONFIG, intensity=LEVELS)


def test_it_is_the_stained_resampled_volume(model, volume, expected, tmp_path):
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", config=CONFIG, intensity=LEVELS, resample=True)
    stained = open_stained(out)
    assert stained.shape[:3] == (18, 50, 57)
    assert stained.voxel_um == (5.0, 5.0, 5.0)
    np.testing.assert_array_equal(colours(out), expected)
    assert stained.provenance["resampled"] == {
        "original_shape": [9, 36, 41],
        "original_voxel_um": list(COARSE_UM),
        "origin_um": [-2.5, -1.0, -1.0],
        "interpolation": "linear",
    }
    # The input is the original file.
    assert stained.provenance["input"]["fingerprint"] == open_volume(volume).fingerprint()


@pytest.mark.parametrize("z_chunk", [1, 7, 18])
def test_the_bits_do_not_depend_on_the_z_chunks(model, volume, expected, z_chunk):
    config = CONFIG.model_copy(update={"z_chunk": z_chunk})
    stained = stain_volume(model, volume, config=config, intensity=LEVELS, resample=True)
    np.testing.assert_array_equal(stained, expected)


def test_jobs_share_the_work(model, volume, expected, tmp_path):
    options = {"config": CONFIG, "intensity": LEVELS, "resample": True}
    for number in (2, 1):
        out = stain_volume(model, volume, tmp_path / "out.ome.zarr", part=(number, 2), **options)
    np.testing.assert_array_equal(colours(out), expected)


def test_anisotropic_voxels_are_stained_along_three_axes(model, volume):
    config = CONFIG.model_copy(update={"planes": "zyx"})
    with pytest.raises(InputError, match="are not cubes"):
        stain_volume(model, volume, config=config, intensity=LEVELS, allow_voxel_mismatch=True)
    assert stain_volume(model, volume, config=config, intensity=LEVELS, resample=True).shape == (18, 50, 57, 3)


def test_a_volume_of_the_right_size_is_not_changed(model, tmp_path):
    array = Volume.from_array(grey_values(SHAPE), voxel_um=5.0, name="volume")
    plain = stain_volume(model, array, tmp_path / "a" / "out.ome.zarr", config=CONFIG, intensity=LEVELS)
    same = stain_volume(model, array, tmp_path / "b" / "out.ome.zarr", config=CONFIG, intensity=LEVELS, resample=True)
    assert contents(same) == contents(plain)


def test_the_intensity_reference_is_that_of_the_original(model, volume, monkeypatch):
    seen = []

    def find(opened, *_, **__):
        seen.append(opened)
        return LEVELS

    monkeypatch.setattr("tomostain.stain.job.find_reference", find)
    StainJob.open(StainRequest(model, volume, config=CONFIG, resample=True))
    assert seen[0].voxel_um == COARSE_UM


def test_the_plan_is_that_of_the_resampled_volume(model, volume, tmp_path):
    options = {"config": CONFIG, "intensity": LEVELS}
    planned = plan_volume(model, volume, tmp_path / "out.ome.zarr", resample=True, **options)
    assert planned.shape == (18, 50, 57)
    fine = Volume.from_array(resample_volume(volume, 5.0)[:], 5.0)
    assert planned.memory_bytes > plan_volume(model, fine, tmp_path / "out.ome.zarr", **options).memory_bytes


def test_without_the_option_the_refusal_names_it(model, volume, tmp_path):
    with pytest.raises(InputError, match=r"voxel size 7 x 7 µm, but .* 5 µm; set `resample=True` to resample it"):
        stain_volume(model, volume, config=CONFIG, intensity=LEVELS)
    with pytest.raises(InputError, match="give only one"):
        StainRequest(model, volume, resample=True, allow_voxel_mismatch=True)
    write_image(tmp_path / "slice.tif", grey_values(SHAPE)[0])
    with pytest.raises(InputError, match="`resample`: is for volumes"):
        stain_image(model, tmp_path / "slice.tif", tmp_path / "out.png", resample=True)


def test_the_command_line(model, volume, expected, tmp_path, capsys):
    levels = ["--background", LEVELS.background, "--bone", LEVELS.bone]
    out = tmp_path / "out.ome.zarr"
    words = [str(word) for word in ("stain", model, volume, out, *levels, "--patch-px", 32, "--stride-px", 16)]
    assert run(words) == 2
    assert "add --resample to resample it" in capsys.readouterr().err
    assert run([*words, "--resample"]) == 0
    np.testing.assert_array_equal(colours(out), expected)


def test_check_compares_at_the_voxel_size_of_the_model(volume, monkeypatch, tmp_path):
    compared = []
    monkeypatch.setattr("tomostain.imaging.intensity_estimation.volume_reference", lambda volume, source: LEVELS)
    spec = toy_model(tmp_path / "model")

    class Report:
        summary = "line"

    monkeypatch.setattr("tomostain.ood.check_volume", lambda reference, opened, *_: compared.append(opened) or Report)
    monkeypatch.setattr("tomostain.ood.ModelReference", lambda *_: type("R", (), {"grey_values": [1]})())
    assert list(check_against(spec, [volume], resample=True)) == ["line"]
    assert compared[0].voxel_um == (5.0, 5.0, 5.0)
