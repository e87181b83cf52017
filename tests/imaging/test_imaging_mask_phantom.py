"""Compare the automatic correspondence mask with the true mask for every kind of implant and both stains."""

import dataclasses

import numpy as np
import pytest

from tomostain.dataset.cut_pair import CutConfig, cut_pair
from tomostain.geometry.section import Section, grid_um, sample_volume
from tomostain.imaging.correspondence_mask import hull
from tomostain.io import Slide, Volume
from tomostain.phantom import PhantomConfig, grow_anatomy, make_slide, section_through_screw, tomograph
from tomostain.phantom.tissue import Label

RIGID = (Label.BONE, Label.WOVEN, Label.LACUNA, Label.CANAL, Label.DEGRADATION, Label.SCREW)
VOXEL_UM = 40.0


def config_of(material, stain):
    size = {"shape": (112, 112, 112), "voxel_um": VOXEL_UM, "pixel_um": VOXEL_UM / 2}
    return PhantomConfig.from_dict({"seed": 41, "material": material, "stain": stain} | size)


@pytest.fixture(scope="module", params=["Mg-10Gd", "Ti", "PEEK"])
def scanned(request):
    """Return an implant material, and the anatomy, the µCT and the labels of its specimen, which no stain changes."""
    anatomy = grow_anatomy(config_of(request.param, "h&e"))
    return request.param, anatomy, *tomograph(anatomy)


@pytest.mark.parametrize("stain", ["toluidine-blue", "h&e"])
def test_the_mask_is_where_both_show_bone_or_screw(scanned, stain):
    material, anatomy, values, labels = scanned
    config = config_of(material, stain)
    made = make_slide(dataclasses.replace(anatomy, config=config), *section_through_screw(config, anatomy.pose))
    volume, slide = Volume.from_array(values, VOXEL_UM), Slide.from_array(made.rgb, config.pixel_um)
    section = made.section
    pair, _ = cut_pair(volume, slide, section, "p", CutConfig(VOXEL_UM, margin_um=0.0), "test")
    grid = Section.from_dict(pair.section)
    shape = pair.mask.shape
    in_ct = sample_volume(labels, (VOXEL_UM,) * 3, grid, shape, VOXEL_UM, order=0, fill=-1)
    at = np.rint(grid.section_to_slide_um(grid_um(shape, VOXEL_UM)) / config.pixel_um).astype(int)
    on_slide = made.labels
    inside = ((at >= 0) & (at < on_slide.shape)).all(axis=-1)
    at = np.clip(at, 0, np.array(on_slide.shape) - 1)
    in_slide = on_slide[at[..., 0], at[..., 1]]
    truth = hull(np.isin(in_ct, RIGID)) & hull(np.isin(in_slide, RIGID) & inside) & inside & (in_ct >= 0)
    dice = 2 * (pair.mask & truth).sum() / (pair.mask.sum() + truth.sum())
    assert dice >= 0.97
