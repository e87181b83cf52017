"""Compare the automatic correspondence mask with the true mask for every kind of implant and both stains."""

import numpy as np
import pytest
import tifffile

from tomostain.dataset.cut_pair import CutConfig, cut_pair
from tomostain.geometry.section import Section, grid_um, sample_volume
from tomostain.imaging.correspondence_mask import hull
from tomostain.io import open_slide, open_volume
from tomostain.phantom import PhantomConfig, write_specimen
from tomostain.phantom.tissue import Label
from tomostain.register.hints import read_section

RIGID = (Label.BONE, Label.WOVEN, Label.LACUNA, Label.CANAL, Label.DEGRADATION, Label.SCREW)
VOXEL_UM = 40.0


@pytest.mark.parametrize("stain", ["toluidine-blue", "h&e"])
@pytest.mark.parametrize("material", ["Mg-10Gd", "Ti", "PEEK"])
def test_the_mask_is_where_both_show_bone_or_screw(material, stain, tmp_path):
    size = {"shape": (112, 112, 112), "voxel_um": VOXEL_UM, "pixel_um": VOXEL_UM / 2}
    config = PhantomConfig.from_dict({"seed": 41, "material": material, "stain": stain} | size)
    folder = write_specimen(config, tmp_path / "s")
    volume, slide = open_volume(folder / "volume"), open_slide(folder / "slide.ome.tif")
    section = read_section(folder / "truth" / "section.yaml")
    pair, _ = cut_pair(volume, slide, section, "p", CutConfig(VOXEL_UM, margin_um=0.0), "test")
    grid = Section.from_dict(pair.section)
    shape = pair.mask.shape
    labels = tifffile.imread(folder / "truth" / "labels.tif")
    in_ct = sample_volume(labels, (VOXEL_UM,) * 3, grid, shape, VOXEL_UM, order=0, fill=-1)
    at = np.rint(grid.section_to_slide_um(grid_um(shape, VOXEL_UM)) / config.pixel_um).astype(int)
    on_slide = tifffile.imread(folder / "truth" / "slide_labels.tif")
    inside = ((at >= 0) & (at < on_slide.shape)).all(axis=-1)
    at = np.clip(at, 0, np.array(on_slide.shape) - 1)
    in_slide = on_slide[at[..., 0], at[..., 1]]
    truth = hull(np.isin(in_ct, RIGID)) & hull(np.isin(in_slide, RIGID) & inside) & inside & (in_ct >= 0)
    dice = 2 * (pair.mask & truth).sum() / (pair.mask.sum() + truth.sum())
    assert dice >= 0.97
