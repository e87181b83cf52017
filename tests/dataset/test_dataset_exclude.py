"""An exclusion that is drawn for a pair: written, read and honoured."""

import numpy as np
import pytest

from tomostain.dataset.exclusion import load_exclude, save_exclude
from tomostain.dataset.pair import Pair, load_pair, save_pair
from tomostain.errors import InputError


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
