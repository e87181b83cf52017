"""Staining along three axes: its z chunks on disk, and resuming after an interruption."""

import multiprocessing

import numpy as np
import pytest
import torch

from tests.support.toys import LEVELS, colours, grey_values, toy_model
from tomostain.errors import InputError
from tomostain.imaging.intensity import normalise_ct
from tomostain.io import open_stained, open_volume, write_stack
from tomostain.io.ome_zarr.scratch import Scratch
from tomostain.stain import StainConfig, load_translator, plan_volume, stain_slice, stain_volume
from tomostain.stain.fusion import fuse

CONFIG = StainConfig(patch_px=32, stride_px=16, z_chunk=7, planes="zyx", fuse="median")
SHAPE = (37, 40, 34)
FRESH = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes") / "volume"
    write_stack(folder, grey_values(SHAPE), voxel_um=5.0)
    return folder


@pytest.fixture(scope="module")
def axis_by_axis(model, volume):
    """Each plane stained separately, with the whole volume in memory."""
    translator = load_translator(model, "cpu")
    ct = normalise_ct(open_volume(volume).read(0, SHAPE[0]), LEVELS)

    def along(axis):
        planes = [stain_slice(translator, plane, CONFIG) for plane in np.moveaxis(ct, axis, 0).copy()]
        return np.moveaxis(np.stack(planes), 0, axis)

    return [along(axis) for axis in range(3)]


@pytest.mark.parametrize("how", ["median", "mean", "weighted"])
def test_a_volume_is_its_planes_along_each_axis_fused(model, volume, axis_by_axis, tmp_path, how):
    config, reports = CONFIG.model_copy(update={"fuse": how}), []
    progress = lambda label, done, total: reports.append((label, done, total))  # noqa: E731
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS, progress=progress)
    np.testing.assert_array_equal(colours(out), fuse(axis_by_axis, how))
    assert [p.name for p in tmp_path.iterdir()] == ["out.ome.zarr"]
    assert open_stained(out).provenance["options"]["planes"] == "zyx"
    assert {label for label, *_ in reports} >= {"turning", "staining along y", "staining along x", "staining"}


@pytest.mark.parametrize(("axis", "name"), [(1, "y"), (2, "x")])
def test_a_volume_is_stained_across_another_axis_only(model, volume, axis_by_axis, tmp_path, axis, name):
    config, reports = CONFIG.model_copy(update={"planes": name}), []
    out = tmp_path / "out.ome.zarr"
    stain_volume(model, volume, out, config=config, intensity=LEVELS, progress=lambda *what: reports.append(what))
    np.testing.assert_array_equal(colours(out), axis_by_axis[axis])
    assert [p.name for p in tmp_path.iterdir()] == ["out.ome.zarr"]
    assert {label for label, *_ in reports if label.startswith("staining along")} == {f"staining along {name}"}
    assert plan_volume(model, volume, tmp_path / "out", config=config, intensity=LEVELS).scratch_bytes == 5 * np.prod(
        SHAPE
    )


class BreakOffError(Exception):
    pass


@pytest.mark.parametrize("stage", ["turning", "staining along y", "staining along x", "staining"])
def test_interrupted_at_any_stage_it_resumes_to_the_same_bits(model, volume, axis_by_axis, tmp_path, stage):
    out = tmp_path / "out.ome.zarr"

    def pull_the_plug(label, done, total):
        if label == stage and done == 1:
            raise BreakOffError

    with pytest.raises(BreakOffError):
        stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS, progress=pull_the_plug)
    reports = []
    stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS, progress=lambda *what: reports.append(what))
    np.testing.assert_array_equal(colours(out), fuse(axis_by_axis, "median"))
    if stage != "staining":
        assert next(what for what in reports if what[0] == stage)[1] == 1  # finished work is not repeated


def test_scratch_of_another_model_is_not_used(model, volume, axis_by_axis, tmp_path):
    other = Scratch(tmp_path / ".out.ome.zarr.planes" / "y", (40, 37, 34, 3), np.uint8, 32, {"model": "another"})
    for first, end in other.z_chunks():
        other.write(first, np.zeros((end - first, 37, 34, 3), np.uint8))
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", config=CONFIG, intensity=LEVELS)
    np.testing.assert_array_equal(colours(out), fuse(axis_by_axis, "median"))


def in_a_child(model, volume, out, part):
    torch.set_num_threads(1)
    stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS, part=part)


def test_processes_share_all_stages(model, volume, axis_by_axis, tmp_path):
    out = tmp_path / "out.ome.zarr"
    children = [FRESH.Process(target=in_a_child, args=(model, volume, out, (part, 2))) for part in (1, 2)]
    for child in children:
        child.start()
    for child in children:
        child.join(600)
    assert [child.exitcode for child in children] == [0, 0]
    np.testing.assert_array_equal(colours(out), fuse(axis_by_axis, "median"))


def test_impossible_rotations_are_refused(model, volume, tmp_path):
    options = {"config": CONFIG, "intensity": LEVELS}
    with pytest.raises(InputError, match=r"voxels of 6 x 5 x 5 µm are not cubes; stain it along z only"):
        stain_volume(model, volume, tmp_path / "out", voxel_um=(6.0, 5.0, 5.0), **options)
    with pytest.raises(InputError, match="uncertainty is only available with `planes=z`"):
        stain_volume(model, volume, tmp_path / "out", uncertainty=tmp_path / "uncertainty", **options)
    assert not (tmp_path / "out").exists()


def test_a_plan_reports_the_scratch(model, volume, tmp_path):
    plan = plan_volume(model, volume, tmp_path / "out", config=CONFIG, intensity=LEVELS)
    assert plan.scratch_bytes == 8 * np.prod(SHAPE)
    assert "scratch:     0 MB until the volume is complete" in str(plan)
