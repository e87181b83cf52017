"""An exclusion that is drawn for a pair: written, read and honoured."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from tomostain.dataset.exclusion import load_exclude, save_exclude, warn_of_moved_exclusion
from tomostain.dataset.pair import Pair, load_pair, save_pair
from tomostain.dataset.section_position import state_volume
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError, MovedExclusionWarning
from tomostain.geometry.section import Section
from tomostain.io import Volume


@pytest.fixture
def folder(tmp_path):
    ct = np.full((12, 16), 20000, np.uint16)
    mask = np.zeros((12, 16), bool)
    mask[2:10, 2:14] = True
    return save_pair(Pair("A", ct, np.full((12, 16, 3), 200, np.uint8), mask, 5.0), tmp_path / "A")


def test_an_exclusion_is_taken_from_the_mask(folder):
    exclude = np.zeros((12, 16), bool)
    exclude[:6] = True
    path = save_exclude(folder, exclude)
    assert path == folder / "exclude.tif"
    np.testing.assert_array_equal(load_exclude(folder, (12, 16)), exclude)
    np.testing.assert_array_equal(load_pair(folder).mask, load_pair(folder).mask & ~exclude)
    assert load_pair(folder).mask.sum() == 4 * 12


def test_an_earlier_exclusion_is_replaced_on_request_only(folder):
    exclude = np.zeros((12, 16), bool)
    save_exclude(folder, exclude)
    with pytest.raises(InputError, match="exists already"):
        save_exclude(folder, exclude)
    exclude[3] = True
    save_exclude(folder, exclude, overwrite=True)
    np.testing.assert_array_equal(load_exclude(folder, (12, 16)), exclude)


def test_an_exclusion_of_everything_or_of_another_size_is_refused(folder):
    with pytest.raises(InputError, match="removes the whole mask"):
        save_exclude(folder, np.ones((12, 16), bool))
    with pytest.raises(InputError, match="has shape"):
        save_exclude(folder, np.zeros((12, 15), bool))
    assert not (folder / "exclude.tif").exists()


# Pixels of 5 µm: the first µCT pixel, and the slide pixel on it, are moved by so many µm along the columns.
@pytest.mark.parametrize(
    ("in_volume_um", "on_slide_um", "warns"), [(0, 0, False), (10, 10, False), (100, 0, True), (0, 100, True)]
)
def test_an_exclusion_of_a_pair_that_moved_is_named(folder, tmp_path, in_volume_um, on_slide_um, warns):
    def placed(volume_um, slide_um):
        affine = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -slide_um]])
        section = Section(np.array([30.0, 0.0, volume_um]), np.eye(3)[1], np.eye(3)[2], affine)
        return replace(load_pair(folder), section=section.to_dict())

    dataset = tmp_path / "dataset"
    save_dataset(dataset, [placed(0.0, 0.0)])
    exclude = np.zeros((12, 16), bool)
    exclude[:6] = True
    save_exclude(dataset / "pairs" / "A", exclude)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save_dataset(dataset, [placed(in_volume_um, on_slide_um)], overwrite=True)
    messages = [str(each.message) for each in caught if each.category is MovedExclusionWarning]
    assert len(messages) == warns
    assert all("up to 20 pixels" in message for message in messages)
    np.testing.assert_array_equal(load_exclude(dataset / "pairs" / "A", (12, 16)), exclude)


def test_nothing_is_said_where_nothing_is_known_of_the_earlier_pair(folder):
    save_exclude(folder, np.zeros((12, 16), bool))
    section = Section(np.zeros(3), np.eye(3)[1], np.eye(3)[2]).to_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_moved_exclusion(folder, section, (12, 16))
        warn_of_moved_exclusion(folder, None, (12, 16))
        (folder / "pair.yaml").write_text("origin_um: 3")
        warn_of_moved_exclusion(folder, section, (12, 16))


WHOLE = Volume.from_array(np.zeros((40, 12, 16), np.uint16), 5.0)
REGION = WHOLE.region((20, 0, 0), (40, 12, 16))
# Begins 100 µm further than the whole volume.
PLACES = {"nothing": (None, 0.0), "the whole volume": (WHOLE, 0.0), "a region": (REGION, 100.0)}


@pytest.mark.parametrize("moved_um", [0.0, 100.0])
@pytest.mark.parametrize("is_older", [False, True])
@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("nothing", "the whole volume"),
        ("the whole volume", "nothing"),
        ("the whole volume", "a region"),
        ("a region", "the whole volume"),
    ],
)
def test_pairs_of_a_volume_and_its_region_are_compared(folder, before, now, is_older, moved_um):
    def placed(place, z_um):
        volume, begins_um = PLACES[place]
        section = Section(np.array([z_um - begins_um, 0.0, 0.0]), np.eye(3)[1], np.eye(3)[2])
        return (section if volume is None else state_volume(section, volume)).to_dict()

    earlier = placed(before, 130.0)
    if is_older:
        earlier.pop("volume_voxel_um", None)
    save_pair(replace(load_pair(folder), section=earlier), folder, overwrite=True)
    save_exclude(folder, np.zeros((12, 16), bool))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_moved_exclusion(folder, placed(now, 130.0 + moved_um), (12, 16))
    assert [each.category for each in caught] == [MovedExclusionWarning] * (moved_um > 0)
    assert all("up to 20 pixels" in str(each.message) for each in caught)
