"""The virtual section of a pair, from a model and from a stained volume."""

from dataclasses import replace

import numpy as np
import pytest

from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.io import create_stained, open_stained
from tomostain.measure.virtual_section import cut_volume, section_of, stain_pair
from tomostain.stain import load_stainer

VOXEL_UM = (20.0, 10.0, 10.0)


@pytest.fixture(scope="module")
def stained(tmp_path_factory):
    z, y, x = np.mgrid[:6, :12, :14]
    colours = np.stack([20 * z, 10 * y, 10 * x], axis=-1).astype(np.uint8)
    path = tmp_path_factory.mktemp("volume") / "stained"
    writer = create_stained(path, colours.shape[:3], VOXEL_UM, z_chunk=6, provenance={})
    for start, stop in writer.pending():
        writer.write(start, colours[start:stop])
    writer.finish()
    return open_stained(path), colours


def pair(**values) -> Pair:
    rng = np.random.default_rng(0)
    ct = rng.integers(9000, 32000, (40, 48)).astype(np.uint16)
    return Pair("p", ct, np.zeros((40, 48, 3), np.uint8), np.ones((40, 48), bool), 20.0, **values)


def test_a_slice_is_cut_as_it_is_stored(stained):
    volume, colours = stained
    section = Section(np.array([60.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    rgb, inside = cut_volume(volume, section, (12, 14), 10.0)
    np.testing.assert_array_equal(rgb, colours[3])
    assert inside.all()


def test_outside_the_volume_it_is_white(stained):
    volume, _ = stained
    section = Section(np.array([20.0, -50.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    rgb, inside = cut_volume(volume, section, (12, 14), 10.0)
    assert not inside[:5].any()
    assert inside[5:].all()
    assert (rgb[:5] == 255).all()


def test_a_plane_outside_the_volume_is_refused(stained):
    volume, _ = stained
    section = Section(np.array([5000.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    with pytest.raises(InputError, match="the section of the pair does not cross this volume"):
        cut_volume(volume, section, (12, 14), 10.0)


def test_a_pair_is_stained_by_a_model():
    stainer = load_stainer("builtin:phantom-tb", device="cpu")
    assert stain_pair(pair(), stainer).shape == (40, 48, 3)
    with pytest.raises(InputError, match="has pixels of 5 µm, but the model was trained on 20 µm"):
        stain_pair(replace(pair(), voxel_um=5.0), stainer)


def test_the_position_of_a_pair():
    assert section_of(pair()) is None
    keys = {"origin_um": [1, 2, 3], "row": [1, 0, 0], "column": [0, 1, 0]}
    assert section_of(pair(section=keys)).origin_um.tolist() == [1, 2, 3]
