"""The section of a pair in a stained volume that does not begin where the µCT of the pair does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tomostain.geometry.section import Section
from tomostain.imaging.resampling import resample_volume
from tomostain.io import Volume, create_stained, open_stained
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.measure.virtual_section import cut_volume

STATED = Placement((3000.0, -200.0, 40.0), ((1, 0, 0), (0, -1, 0), (0, 0, -1)))
Z_UM = 150.0


def whole(placement: Placement | None) -> Volume:
    return Volume.from_array(np.zeros((40, 30, 30), np.uint16), 10.0, placement=placement)


def stained(path: Path, ct: Volume, first_um: float, provenance: dict) -> StainedVolume:
    """Write a stained volume on the grid of `ct`, whose colour is the height (µm) in the whole µCT, divided by 2."""
    heights = (first_um + np.arange(ct.shape[0]) * ct.voxel_um[0]) / 2
    writer = create_stained(path, ct.shape, ct.voxel_um, provenance=provenance, placement=ct.placement)
    for start, stop in writer.z_chunks():
        colours = np.broadcast_to(heights[start:stop, None, None, None], (stop - start, *ct.shape[1:], 3))
        writer.write(start, np.round(colours).astype(np.uint8))
    writer.finish()
    return open_stained(path)


def section_at(z_um: float, registered_to: Volume | None) -> Section:
    section = Section(np.array([z_um, 0.0, 0.0]), np.eye(3)[1], np.eye(3)[2])
    if registered_to is None:  # the pair is older, and states no origin
        return section
    begins = (registered_to.placement or Placement()).along_axes_um
    return Section.from_dict(replace(section, volume_origin_um=np.array(begins)).to_dict())


def shown_um(volume: StainedVolume, section: Section) -> float:
    rgb, inside = cut_volume(volume, section, (10, 10), 10.0)
    assert inside[4:6, 4:6].all()
    return float(rgb[5, 5, 0]) * 2


@pytest.mark.filterwarnings("ignore::tomostain.errors.PlacementWarning")
@pytest.mark.parametrize("placement", [None, STATED])
def test_a_region_shows_the_slice_where_the_slide_lies(tmp_path: Path, placement: Placement | None) -> None:
    ct = whole(placement)
    region = ct.region((10, 0, 0), (40, 30, 30))
    volume = stained(tmp_path / "a.ome.zarr", region, 100.0, {"input": {"name": "x"}} | region.region_record())
    assert shown_um(volume, section_at(Z_UM, ct)) == pytest.approx(Z_UM, abs=2)
    assert shown_um(volume, section_at(Z_UM, None)) == pytest.approx(Z_UM, abs=2)
    # The slide was registered to the region itself: its slice 5 is slice 15 of the whole volume.
    assert shown_um(volume, section_at(50.0, region)) == pytest.approx(Z_UM, abs=2)


@pytest.mark.filterwarnings("ignore::tomostain.errors.PlacementWarning")
@pytest.mark.parametrize("placement", [None, STATED])
@pytest.mark.parametrize("target_um", [40.0, 4.0])
def test_a_resampled_file_shows_the_slice_where_the_slide_lies(
    tmp_path: Path, placement: Placement | None, target_um: float
) -> None:
    ct = whole(placement)
    resampled = resample_volume(ct, (target_um, 10.0, 10.0))
    volume = stained(tmp_path / "a.ome.zarr", resampled, (target_um - 10) / 2, {"input": {"name": "x"}})
    assert shown_um(volume, section_at(Z_UM, ct)) == pytest.approx(Z_UM, abs=2)
    z_um = Z_UM - (target_um - 10) / 2
    assert shown_um(volume, section_at(z_um, resampled)) == pytest.approx(Z_UM, abs=2)


@pytest.mark.filterwarnings("ignore::tomostain.errors.PlacementWarning")
@pytest.mark.parametrize("placement", [None, STATED])
def test_volumes_and_pairs_without_a_record_are_cut_as_before(tmp_path: Path, placement: Placement | None) -> None:
    volume = stained(tmp_path / "a.ome.zarr", whole(placement), 0.0, {})
    for registered_to in (None, whole(placement), whole(None)):  # the last: a copy that states no position
        assert shown_um(volume, section_at(Z_UM, registered_to)) == pytest.approx(Z_UM, abs=2)
