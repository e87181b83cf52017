"""The stained section: Beer and Lambert, and the colours the paper names."""

from types import SimpleNamespace

import numpy as np
import pytest

from tomostain.phantom import HistologyConfig, Label, PhantomConfig, Tissue, grow_anatomy, stain_section
from tomostain.phantom.histology import to_rgb
from tomostain.phantom.specimen import Specimen, truth_slice
from tomostain.phantom.stains import STAINS, absorbance_per_um
from tomostain.register import Section

PLANE = Section(np.zeros(3), np.array([0, 1.0, 0]), np.array([0, 0, 1.0]))


def block_of(label, thickness_um=40.0, stain="toluidine-blue", mineral=0.5, youth=0.0, fibre=0.5):
    """Return a specimen that is the same everywhere."""

    def sample(points, finest_um=0.0):
        full = np.full(points.shape[:-1], 1.0, np.float32)
        return Tissue(np.full(full.shape, label, np.uint8), mineral * full, youth * full, fibre * full)

    config = SimpleNamespace(histology=HistologyConfig(thickness_um=thickness_um), stain=stain)
    return SimpleNamespace(config=config, sample_volume_points=sample)


def colour(label, **values):
    return stain_section(block_of(label, **values), PLANE, (2, 2), 10.0)[0][0, 0]


@pytest.mark.parametrize("label", [Label.BONE, Label.SOFT, Label.DEGRADATION, Label.WOVEN])
def test_twice_as_thick_squares_the_transmission(label):
    np.testing.assert_allclose(colour(label, thickness_um=80.0), colour(label) ** 2, rtol=1e-4)


def test_absorbance_gives_the_colour_back():
    np.testing.assert_allclose(255 * 10 ** (-40 * absorbance_per_um((200, 100, 50))), (200, 100, 50), rtol=1e-5)


def test_toluidine_blue_as_the_paper_describes_it():
    red, green, blue = colour(Label.BONE)
    assert green < red < blue * 1.1  # purple
    soft = colour(Label.SOFT)
    assert soft[0] < soft[1] < soft[2]  # blue
    young = colour(Label.WOVEN, youth=1.0)
    assert young[2] > 2 * young[0]  # bright blue at the layer
    assert colour(Label.WOVEN, youth=0.0).sum() < colour(Label.BONE).sum()  # younger bone is darker
    assert colour(Label.SCREW).max() < 0.01  # metal is black
    assert colour(Label.AIR).min() == 1.0


def test_haematoxylin_eosin_as_the_paper_describes_it():
    assert colour(Label.SCREW, stain="h&e").min() == 1.0  # the screw is lost
    red, green, blue = colour(Label.BONE, stain="h&e")
    assert red > blue > green  # pink
    soft = colour(Label.SOFT, stain="h&e")
    assert soft[1] < min(soft[0], soft[2])  # purple


def test_every_stain_colours_every_tissue():
    for stain in STAINS.values():
        for label in (Label.SOFT, Label.MARROW, Label.BONE, Label.WOVEN, Label.LACUNA, Label.DEGRADATION):
            assert max(stain.colours[label]) < 245


def test_truth_of_a_slice_knows_the_screw():
    config = PhantomConfig(seed=1, shape=(9, 40, 40), voxel_um=130, pixel_um=130, orientation="lying")
    specimen = Specimen("s", config, grow_anatomy(config))
    rgb, mask = truth_slice(specimen, 4)
    labels = specimen.anatomy.sample_volume_points(
        np.stack(np.meshgrid([4.0], np.arange(40.0), np.arange(40.0), indexing="ij"), -1)[0] * 130
    ).label
    screw = labels == Label.SCREW
    assert screw.sum() > 50
    assert np.median(rgb[screw]) < 30
    assert mask[screw].all()
    assert to_rgb(np.ones((1, 1, 3), np.float32)).min() == 243
