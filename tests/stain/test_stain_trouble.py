"""Errors with whole volumes: full disk, other processes at the same output, another model, odd sizes."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tests.support.toys import LEVELS, RESNET, contents, grey_values, toy_model
from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference, normalise_ct
from tomostain.io import check_stained, open_stained, write_stack
from tomostain.io.ome_zarr.create import chunks_left
from tomostain.stain import StainConfig, load_translator, stain_slice, stain_volume

CONFIG = StainConfig(patch_px=32, stride_px=16, z_chunk=3)
SHAPE = (20, 18, 270)  # long enough for a coarser level
OPTIONS = {"config": CONFIG, "intensity": LEVELS}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes") / "volume"
    write_stack(folder, grey_values(SHAPE), voxel_um=5.0)
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A disk of any size, as a function of the size in kB that makes it or changes it."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def of(kilobytes: int) -> Path:
        how = f"size={kilobytes}k" + (",remount" if mounted else "")
        try:
            process = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", how, "tmpfs", place], capture_output=True, text=True
            )
        except OSError as error:
            pytest.skip(f"no mount here: {error}")
        if process.returncode:
            pytest.skip(f"a small disk cannot be mounted: {process.stderr.strip()}")
        mounted.append(kilobytes)
        return place

    yield of
    if mounted:
        subprocess.run(["umount", place], check=True)


# From the first file, through z chunks, the other planes and their fusion, to the coarser level.
@pytest.mark.parametrize(
    ("planes", "kilobytes"),
    [("z", 4), ("z", 24), ("z", 160), ("z", 370), ("zyx", 24), ("zyx", 300), ("zyx", 700), ("zyx", 1000)],
)
def test_a_full_disk_is_reported_and_the_run_resumes_when_there_is_space(
    model, volume, small_disk, tmp_path, kilobytes, planes
):
    options = OPTIONS | {"config": CONFIG.model_copy(update={"planes": planes})}
    out = small_disk(kilobytes) / "out.ome.zarr"
    with pytest.raises(InputError, match=r"disk/out.ome.zarr: the disk .*full.*; make room and run the same command"):
        stain_volume(model, volume, out, **options)
    before = chunks_left(out) if out.exists() else 7
    small_disk(8192)
    reports = []
    stain_volume(model, volume, out, progress=lambda *what: reports.append(what), **options)
    staining = [done for label, done, _ in reports if label == "staining"]
    assert staining[0] == 20 - sum((3, 3, 3, 3, 3, 3, 2)[7 - before :])  # finished work is not repeated
    whole = stain_volume(model, volume, tmp_path / "out.ome.zarr", **options)
    assert contents(out) == contents(whole)
    assert check_stained(out) == []


def test_another_model_input_or_grey_level_is_refused_by_name(model, volume, tmp_path):
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", **OPTIONS)
    before = contents(out)
    other_model = toy_model(tmp_path / "other", seed=1)
    other_volume = tmp_path / volume.name
    write_stack(other_volume, grey_values(SHAPE, seed=1), voxel_um=5.0)
    smooth = CONFIG.model_copy(update={"gaussian_sigma": 1.0})
    for field, arguments, options in (
        ("model.hash was", (other_model, volume), {}),
        ("input.fingerprint was", (model, other_volume), {}),
        (
            "levels.bone was 900.0 and is now 800.0",
            (model, volume),
            {"intensity": IntensityReference(background=100.0, bone=800.0)},
        ),
        ("levels was|levels.background was 100.0 and is now None", (model, volume), {"intensity": "normalised"}),
        ("voxel_um was", (model, volume), {"voxel_um": 5.1}),
        ("options.gaussian_sigma was 0.0 and is now 1.0", (model, volume), {"config": smooth}),
    ):
        with pytest.raises(InputError, match=rf"out.ome.zarr: cannot be continued, ({field}).*overwrite=True"):
            stain_volume(*arguments, out, **OPTIONS | options)
    assert contents(out) == before


def test_a_job_with_other_options_cannot_disturb_one_at_work(model, volume, tmp_path):
    out, tried = tmp_path / "out.ome.zarr", []
    other = OPTIONS | {"config": CONFIG.model_copy(update={"blend": "hann"})}

    def meanwhile(label, done, total):
        if label == "staining" and done == 7 and not tried:
            tried.append(True)
            with pytest.raises(InputError, match="blend was 'mean' and is now 'hann'"):
                stain_volume(model, volume, out, **other)
            for options in (other, OPTIONS):
                with pytest.raises(InputError, match="another process is staining it; wait until it ends or stop it"):
                    stain_volume(model, volume, out, overwrite=True, **options)

    stain_volume(model, volume, out, progress=meanwhile, **OPTIONS)
    assert tried
    assert contents(out) == contents(stain_volume(model, volume, tmp_path / "whole" / "out.ome.zarr", **OPTIONS))
    stain_volume(model, volume, out, overwrite=True, **other)  # no other process is left
    assert open_stained(out).provenance["options"]["blend"] == "hann"


@pytest.mark.parametrize("shape", [(1, 36, 41), (1, 1, 1), (4, 9, 50), (3, 40, 1), (2, 7, 7)])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_volumes_smaller_than_a_patch_or_of_one_slice(model, tmp_path, shape, sigma):
    grey = grey_values(shape)
    write_stack(tmp_path / "volume", grey, voxel_um=5.0)
    config = CONFIG.model_copy(update={"gaussian_sigma": sigma})
    out = stain_volume(model, tmp_path / "volume", tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    smooth = ndimage.gaussian_filter(grey.astype(np.float32), sigma, mode="nearest") if sigma else grey
    expected = [stain_slice(load_translator(model, "cpu"), normalise_ct(ct, LEVELS), config) for ct in smooth]
    stained = open_stained(out)
    assert stained.shape == shape
    np.testing.assert_array_equal(stained.read(0, shape[0]), expected)
    assert check_stained(out) == []


@pytest.mark.parametrize("shape", [(1, 36, 41), (5, 9, 50)])
def test_small_volumes_along_three_axes_and_by_exact_tiles(tmp_path, shape):
    model = toy_model(tmp_path / "model", RESNET | {"norm": "channel"})
    write_stack(tmp_path / "volume", grey_values(shape), voxel_um=5.0)
    exact = StainConfig(blend="exact", patch_px=64)
    for name, config in {"planes": CONFIG.model_copy(update={"planes": "zyx"}), "exact": exact}.items():
        out = stain_volume(model, tmp_path / "volume", tmp_path / f"{name}.ome.zarr", config=config, intensity=LEVELS)
        assert open_stained(out).shape == shape
        assert np.std(open_stained(out).read(0, shape[0])) > 1
