"""The µCT guessed from a slide, against the phantom's labels."""

import numpy as np
import pytest
import tifffile
from tests.register.conftest import SMALL

from tomostain.errors import InputError
from tomostain.io import open_slide
from tomostain.phantom import PhantomConfig, write_specimen
from tomostain.phantom.tissue import Label
from tomostain.register.template import BONE, make_template


@pytest.fixture(scope="module", params=["toluidine-blue", "h&e"])
def slide(request, tmp_path_factory):
    """Return a slide's pixels and the labels under them."""
    config = PhantomConfig.from_dict({"seed": 31, "material": "Ti", "stain": request.param} | SMALL)
    folder = write_specimen(config, tmp_path_factory.mktemp("slide") / "s")
    rgb, _ = open_slide(folder / "slide.ome.tif").read()
    return rgb, tifffile.imread(folder / "truth" / "slide_labels.tif"), request.param


def test_the_screw_is_found_black_or_lost(slide):
    rgb, labels, stain = slide
    template = make_template(rgb, SMALL["pixel_um"])
    assert template.hypotheses == ("dense", "light")
    screw = labels == Label.SCREW
    dice = 2 * (template.screw.astype(bool) & screw).sum() / (template.screw.sum() + screw.sum())
    assert dice > (0.95 if stain == "toluidine-blue" else 0.85)


def test_bone_is_told_from_marrow(slide):
    rgb, labels, _ = slide
    template = make_template(rgb, SMALL["pixel_um"])
    marrow = np.isin(labels, (Label.MARROW, Label.ADIPOCYTE))
    dense = template.base == BONE
    assert dense[labels == Label.BONE].mean() > 0.75
    assert dense[marrow].mean() < 0.25


def test_the_picture_is_the_template_averaged(slide):
    template = make_template(slide[0], SMALL["pixel_um"])
    picture = template.picture(4 * SMALL["pixel_um"])
    assert picture.values.shape == (2, len(picture.u_um))
    everything = (template.base * (1 - template.screw) + 1.2 * template.screw) * template.weight
    mean = float((picture.values[0] * picture.weight).sum() / picture.weight.sum())
    assert mean == pytest.approx(everything.sum() / template.weight.sum(), rel=0.1)
    # Centred on the box of what counts.
    assert float(picture.u_um.mean(dim=0).abs().max()) < 0.25 * template.half_um.max()


def test_glass_without_tissue_is_refused():
    glass = np.random.default_rng(0).normal(240, 2, (200, 200, 3)).clip(0, 255).astype(np.uint8)
    with pytest.raises(InputError, match=r"slide.tif: no tissue found"):
        make_template(glass, 20.0, source="slide.tif")
