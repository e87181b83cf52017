"""A stained volume lies where the µCT lies, also a region or a resampled volume."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.toys import LEVELS, grey_values, toy_model
from tomostain.errors import InputError, InterruptedRunError, PlacementWarning
from tomostain.io import Volume, open_stained
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.create import chunks_left
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.stain import StainConfig, stain_volume

CONFIG = StainConfig(patch_px=32, stride_px=16, z_chunk=4)
TURNED = Placement((100.0, -20.0, 3.0), ((1, 0, 0), (0, -1, 0), (0, 0, -1)), "left-posterior-superior")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_model(tmp_path_factory.mktemp("models") / "model")


@pytest.mark.parametrize("step", [5.0, 10.0])
def test_the_stain_has_the_placement_of_the_volume(model: Path, tmp_path: Path, step: float) -> None:
    volume = Volume.from_array(grey_values((4, 36, 41)), step, placement=TURNED)
    other = toy_model(tmp_path / "other", seed=1)
    options = {"config": CONFIG, "intensity": LEVELS, "resample": step > 5}
    options |= {"uncertainty": tmp_path / "u.ome.zarr", "ensemble": [other]}
    with pytest.warns(PlacementWarning, match=r"OME-Zarr cannot hold the directions of the axes \(first voxel at "):
        out = stain_volume(model, volume, tmp_path / "a.ome.zarr", **options)  # type: ignore[call-overload]
    moved = TURNED.moved(((5 - step) / 2,) * 3)
    assert open_stained(out).placement == moved
    assert open_stained(tmp_path / "u.ome.zarr").placement == moved


def test_a_region_has_its_placement_in_the_volume(model: Path, tmp_path: Path) -> None:
    whole = Volume.from_array(grey_values((6, 40, 40)), 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PlacementWarning)
        out = stain_volume(
            model, whole.region((2, 4, 0), (6, 40, 40)), tmp_path / "a.ome.zarr", config=CONFIG, intensity=LEVELS
        )
        placement = open_stained(out).placement
        assert placement is not None
        np.testing.assert_allclose(placement.origin_um, (10, 20, 0))
        assert open_stained(out).provenance["region"] == {"origin": [2, 4, 0], "origin_um": [10.0, 20.0, 0.0]}
        assert open_stained(out).offset_um == (10.0, 20.0, 0.0)
        out = stain_volume(model, whole, tmp_path / "b.ome.zarr", config=CONFIG, intensity=LEVELS)
    assert open_stained(out).placement is None
    assert "region" not in open_stained(out).provenance


@pytest.mark.parametrize("is_finished", [True, False])
def test_the_staining_of_a_region_by_an_older_version_is_continued(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_finished: bool
) -> None:
    region = Volume.from_array(grey_values((10, 40, 40)), 5).region((2, 4, 0), (10, 40, 40))

    def stain(name: str, **options: object) -> StainedVolume:
        arguments: dict[str, Any] = {"config": CONFIG, "intensity": LEVELS} | options
        return open_stained(stain_volume(model, region, tmp_path / name, **arguments))

    complete = stain("complete.ome.zarr")
    with monkeypatch.context() as older:
        older.setattr(Volume, "region_record", lambda _: {})  # an older version did not record it
        if is_finished:
            stain("a.ome.zarr")
        else:
            reports: list[object] = []
            with pytest.raises(InterruptedRunError):
                stain("a.ome.zarr", progress=lambda *now: reports.append(now), should_stop=lambda: len(reports) > 4)
            assert 0 < chunks_left(tmp_path / "a.ome.zarr") < 2
    continued = stain("a.ome.zarr", resume=True)
    assert "region" not in continued.provenance
    np.testing.assert_array_equal(continued[:], complete[:])
    # Another region is still another volume.
    region = Volume.from_array(grey_values((10, 40, 40)), 5).region((2, 0, 0), (10, 36, 40))
    with pytest.raises(InputError, match="cannot be continued"):
        stain("a.ome.zarr", resume=True)
