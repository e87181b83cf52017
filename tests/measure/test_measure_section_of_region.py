"""The section of a pair in a stained volume that does not begin where the µCT of the pair does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tomostain.dataset.section_position import state_volume
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


def section_of_pair(z_um: float, registered_to: Volume) -> Section:
    """Return the section as a pair states it, with the region of the volume."""
    region_um = np.multiply(registered_to.origin, registered_to.voxel_um)
    return Section.from_dict(replace(section_at(z_um, registered_to), region_um=region_um).to_dict())


def resampled_stain(path: Path, ct: Volume, target_um: float) -> StainedVolume:
    """Stain with resampling: the provenance records it."""
    resampled, first_um = resample_volume(ct, target_um), (target_um - ct.voxel_um[0]) / 2
    return stained(path, resampled, first_um, {"input": {"name": "x"}, "resampled": {"origin_um": [first_um] * 3}})


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


@pytest.mark.parametrize("stated_um", [5000.0, 60.0])
def test_a_resampled_stain_of_a_copy_without_a_position_is_cut_where_the_slide_lies(
    tmp_path: Path, stated_um: float
) -> None:
    volume = resampled_stain(tmp_path / "a.ome.zarr", whole(None), 20.0)
    registered_to = whole(Placement((stated_um, 0.0, 0.0)))
    assert shown_um(volume, section_of_pair(Z_UM, registered_to)) == pytest.approx(Z_UM, abs=2)
    # The slide was registered to a resampled file or to a region of the copy.
    assert shown_um(volume, section_of_pair(Z_UM - 5, resample_volume(whole(None), 20.0))) == pytest.approx(Z_UM, abs=2)
    region = whole(None).region((10, 0, 0), (40, 30, 30))
    assert shown_um(volume, section_of_pair(50.0, region)) == pytest.approx(Z_UM, abs=2)


@pytest.mark.parametrize("stated_um", [5000.0, 25.0])
@pytest.mark.parametrize("states_region", [True, False])
def test_a_stain_whose_file_alone_states_a_position_is_cut_where_the_slide_lies(
    tmp_path: Path, stated_um: float, states_region: bool
) -> None:
    ct = whole(Placement((stated_um, 0.0, 0.0)))
    section = section_of_pair(Z_UM, whole(None)) if states_region else section_at(Z_UM, whole(None))
    volume = stained(tmp_path / "a.ome.zarr", ct, 0.0, {"input": {"name": "x"}})
    assert shown_um(volume, section) == pytest.approx(Z_UM, abs=2)
    assert shown_um(resampled_stain(tmp_path / "b.ome.zarr", ct, 20.0), section) == pytest.approx(Z_UM, abs=2)


@pytest.mark.filterwarnings("ignore::tomostain.errors.PlacementWarning")
@pytest.mark.parametrize("placement", [None, STATED])
@pytest.mark.parametrize("records", [True, False])
def test_a_pair_of_a_region_is_cut_from_a_region_with_and_without_a_record(
    tmp_path: Path, placement: Placement | None, records: bool
) -> None:
    region = whole(placement).region((10, 0, 0), (40, 30, 30))
    record = region.region_record() if records else {}  # an older version did not record it
    volume = stained(tmp_path / "a.ome.zarr", region, 100.0, {"input": {"name": "x"}} | record)
    assert shown_um(volume, section_of_pair(50.0, region)) == pytest.approx(Z_UM, abs=2)
    if records or placement is not None:
        assert shown_um(volume, section_of_pair(Z_UM, whole(placement))) == pytest.approx(Z_UM, abs=2)


def test_a_copy_of_a_region_without_a_position_is_cut_where_the_slide_lies(tmp_path: Path) -> None:
    """Its records are those of a stained whole volume: the section of the pair is in the coordinates of the region."""
    region = whole(None).region((10, 0, 0), (40, 30, 30))
    copy = Volume.from_array(np.asarray(region), 10.0)
    volume = stained(tmp_path / "a.ome.zarr", copy, 100.0, {"input": {"name": "x"}})
    assert shown_um(volume, section_of_pair(50.0, region)) == pytest.approx(Z_UM, abs=2)


def section_that_states(z_um: float, registered_to: Volume) -> Section:
    """Return the section as a pair states it, with the region and the voxel size of the volume."""
    return Section.from_dict(state_volume(section_at(z_um, None), registered_to).to_dict())


@pytest.mark.parametrize("stated_um", [4.0, 10.0, 20.0, 50.0])
def test_a_part_of_a_copy_without_a_position_is_cut_where_the_slide_lies(tmp_path: Path, stated_um: float) -> None:
    """The pair was found in the file that states a position, which resembles that of a resampled copy."""
    section = section_that_states(Z_UM, whole(Placement((stated_um,) * 3)))
    region = whole(None).region((10, 0, 0), (40, 30, 30))
    volume = stained(tmp_path / "a.ome.zarr", region, 100.0, {"input": {"name": "x"}} | region.region_record())
    assert shown_um(volume, section) == pytest.approx(Z_UM, abs=2)
    assert shown_um(resampled_stain(tmp_path / "b.ome.zarr", whole(None), 20.0), section) == pytest.approx(Z_UM, abs=2)


@pytest.mark.parametrize("target_um", [4.0, 20.0, 40.0])
def test_a_stain_is_cut_where_a_slide_lies_that_was_found_in_a_resampled_copy(tmp_path: Path, target_um: float) -> None:
    first_um = (target_um - 10) / 2
    copy = resample_volume(whole(None), target_um)
    in_copy, in_whole = section_that_states(Z_UM - first_um, copy), section_that_states(Z_UM, whole(None))
    region = whole(None).region((10, 0, 0), (40, 30, 30))
    of_region = stained(tmp_path / "a.ome.zarr", region, 100.0, {"input": {"name": "x"}} | region.region_record())
    assert shown_um(of_region, in_copy) == pytest.approx(Z_UM, abs=2)
    of_copy = stained(tmp_path / "b.ome.zarr", copy, first_um, {"input": {"name": "x"}})
    for volume in (of_copy, resampled_stain(tmp_path / "c.ome.zarr", whole(None), target_um)):
        assert shown_um(volume, in_copy) == pytest.approx(Z_UM, abs=2)
        assert shown_um(volume, in_whole) == pytest.approx(Z_UM, abs=2)
