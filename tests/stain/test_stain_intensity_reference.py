"""The grey levels of a volume, and the picture of them that is written next to the output."""

import numpy as np
import pytest
from PIL import Image

from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.intensity_estimation import estimate_reference, reference_regions, volume_reference
from tomostain.imaging.intensity_figure import bin_edges, intensity_figure
from tomostain.io import open_volume, write_stack
from tomostain.stain.intensity_reference import find_reference

BLUE, ORANGE = (47, 127, 184), (217, 119, 43)


def specimen(background=-0.2, bone=1.4, seed=0):
    """A float32 block of bone in air, as reconstructed, and where it is."""
    block = np.zeros((6, 64, 64), bool)
    block[:, 16:48, 12:50] = True
    noise = np.random.default_rng(seed).normal(0, 0.02, block.shape)
    return (background + (bone - background) * block + noise).astype(np.float32), block


@pytest.fixture
def volume(tmp_path):
    write_stack(tmp_path / "volume", specimen()[0], voxel_um=5.0)
    return open_volume(tmp_path / "volume")


def columns_of(picture, colour):
    """The columns in which a line of this colour covers most of the histogram's height."""
    near = (np.abs(picture[:, : picture.shape[1] // 2].astype(int) - colour) < 12).all(axis=2)
    return np.flatnonzero(near.sum(axis=0) > 0.5 * picture.shape[0])


def test_float_volumes_need_no_conversion_and_the_regions_are_what_they_are():
    values, block = specimen()
    levels, (background, bone) = estimate_reference(values), reference_regions(values)
    assert levels.background == pytest.approx(-0.2, abs=0.02)
    assert levels.bone == pytest.approx(1.4, abs=0.02)
    assert bone.any()
    assert not (bone & ~block).any()
    assert not (background & block).any()


def test_the_levels_stand_where_they_are():
    """Lines at twice the distance are drawn twice as far apart: against a third known line, the axis is linear."""
    values, _ = specimen()
    places = []
    for bone in (0.2, 0.6, 1.0):
        picture = intensity_figure(values, IntensityReference(-0.2, bone))
        left, right = (float(columns_of(picture, colour).mean()) for colour in (BLUE, ORANGE))
        places.append(right - left)
    assert places[1] / places[0] == pytest.approx(2.0, abs=0.03)
    assert places[2] / places[0] == pytest.approx(3.0, abs=0.04)


def test_the_picture_is_written_once_and_again_for_other_levels(volume, tmp_path):
    picture = tmp_path / "levels.png"
    assert find_reference(volume, "auto", "volume", picture) == volume_reference(volume)
    content, when = picture.read_bytes(), picture.stat().st_mtime_ns
    find_reference(volume, "auto", "volume", picture)
    assert picture.stat().st_mtime_ns == when
    assert find_reference(volume, IntensityReference(0.0, 1.0), "volume", picture) == IntensityReference(0.0, 1.0)
    assert picture.read_bytes() != content
    assert find_reference(volume, "normalised", "volume", picture) is None


def test_without_bone_the_histogram_is_there_to_choose_by(tmp_path):
    write_stack(tmp_path / "air", np.random.default_rng(0).normal(size=(3, 90, 90)).astype(np.float32), voxel_um=5.0)
    picture = tmp_path / "levels.png"
    with pytest.raises(
        InputError, match=r"air: no bone is brighter than the.*`intensity`.*; the histogram is in .*levels.png"
    ):
        find_reference(open_volume(tmp_path / "air"), "auto", "air", picture)
    assert np.std(np.asarray(Image.open(picture))) > 5


def test_files_of_the_user_are_not_replaced(volume, tmp_path):
    holiday = tmp_path / "holiday.png"
    Image.new("RGB", (4, 4)).save(holiday)
    before = holiday.read_bytes()
    with pytest.raises(InputError, match=r"holiday.png.*exists already"):
        find_reference(volume, "auto", "volume", holiday)
    assert holiday.read_bytes() == before
    with pytest.raises(InputError, match=r"holiday.png: was not written by tomostain"):
        find_reference(volume, "auto", "volume", holiday, overwrite=True)
    assert holiday.read_bytes() == before
    figure = tmp_path / "levels.png"
    find_reference(volume, "auto", "volume", figure)
    find_reference(volume, "auto", "volume", figure, overwrite=True)
    with pytest.raises(InputError, match=r"levels.jpg: the figure of the grey values is a PNG"):
        find_reference(volume, "auto", "volume", tmp_path / "levels.jpg")


@pytest.mark.parametrize(("low", "high"), [(0, 231), (3, 255), (6000, 6900), (0, 65535)])
def test_whole_numbers_leave_no_gaps_in_the_histogram(low, high):
    samples = np.arange(low, high + 1, dtype=np.float64)
    edges = bin_edges(samples, low, high)
    counts, _ = np.histogram(samples, edges)
    assert len(set(counts[1:-1].tolist())) == 1
    assert counts.sum() == samples.size
    assert 16 <= len(counts) <= 258
    assert len(bin_edges(samples + 0.25, low, high)) == 257
