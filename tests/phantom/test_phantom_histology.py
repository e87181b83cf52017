"""Compare the stained section with the Beer-Lambert law and with the colours of the paper."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.geometry.section import Section, grid_um
from tomostain.phantom import HistologyConfig, Label, PhantomConfig, Tissue, grow_anatomy, histology, stain_section
from tomostain.phantom.histology import is_tissue, stain_points, to_rgb
from tomostain.phantom.sampler import sample_tissue_in_volume
from tomostain.phantom.specimen import Specimen, truth_slice
from tomostain.phantom.stains import HAEMATOXYLIN_EOSIN, STAINS, TOLUIDINE_BLUE, absorbance_per_um

PLANE = Section(np.array([400.0, 100.0, 100.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))


@dataclass
class Layers:
    """A specimen of one tissue below z = 400 µm and another above."""

    config: PhantomConfig
    below: Label
    above: Label

    def tissue_at(self, points_um):
        z = points_um[..., 0]
        half = np.full(z.shape, 0.5, np.float32)
        label = np.where(z < 400, self.below, self.above).astype(np.uint8)
        return Tissue(label, half, np.zeros_like(half), half)


@pytest.fixture(scope="module", autouse=True)
def simple_specimens():
    """Allow `histology` to sample the simple specimens of this file."""

    def sample(anatomy, points_um, *, finest_um=0.0):
        if isinstance(anatomy, Layers):
            return anatomy.tissue_at(points_um)
        return sample_tissue_in_volume(anatomy, points_um, finest_um=finest_um)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histology, "sample_tissue_in_volume", sample)
        yield


def layers(below, above, stain="toluidine-blue", thickness_um=40.0, samples=6):
    config = PhantomConfig(stain=stain, histology=HistologyConfig(thickness_um=thickness_um, samples=samples))
    return Layers(config, below, above)


def density(specimen):
    return -np.log10(stain_section(specimen, PLANE, (3, 4), 10.0)[0][0, 0])


@settings(max_examples=25, deadline=None)
@given(
    label=st.sampled_from([Label.SOFT, Label.MARROW, Label.BONE, Label.DEGRADATION, Label.CANAL]),
    stain=st.sampled_from(list(STAINS)),
    thickness=st.floats(5, 60),
)
def test_twice_the_thickness_is_twice_the_optical_density(label, stain, thickness):
    thin, thick = (density(layers(label, label, stain, t)) for t in (thickness, 2 * thickness))
    assert thick == pytest.approx(2 * thin, rel=1e-3)


def test_factors_of_the_absorbance_scale_the_optical_density_of_each_colour():
    factors = (0.75, 1.3, 1.0)
    nominal = layers(Label.BONE, Label.BONE)
    other = replace(nominal, config=PhantomConfig(histology=HistologyConfig(samples=6, absorbance=factors)))
    # Beer-Lambert: the optical density is proportional to the concentration.
    np.testing.assert_allclose(density(other), density(nominal) * factors, rtol=1e-5)


def test_densities_of_layers_add():
    bone, soft = (density(layers(label, label)) for label in (Label.BONE, Label.SOFT))
    both = density(layers(Label.BONE, Label.SOFT))
    assert both == pytest.approx((bone + soft) / 2, rel=1e-4)


@pytest.mark.parametrize("stain", list(STAINS))
@pytest.mark.parametrize("label", [Label.BONE, Label.SOFT, Label.MARROW, Label.DEGRADATION])
def test_40_um_of_tissue_has_the_colour_of_the_table(stain, label):
    # Mineral and fibre in the middle of their range leave the colour of the table unchanged.
    transmission, _ = stain_section(layers(label, label, stain), PLANE, (3, 4), 10.0)
    assert to_rgb(transmission, white=255.0)[1, 1].tolist() == list(STAINS[stain].colours[label])


def tissue(label, mineral=0.5, youth=0.0, fibre=0.5):
    values = (np.array([v], np.float32) for v in (mineral, youth, fibre))
    return Tissue(np.array([label], np.uint8), *values)


def seen(stain, *args, **kwargs):
    return 255 * 10 ** (-40.0 * stain.absorbance_per_um(tissue(*args, **kwargs))[0])


def test_toluidine_blue_is_as_the_paper_says():
    # Section 2.1: bone purple, darker if younger, and bright blue at the layer. Soft tissue is bluer. Metal: black.
    bone, young = seen(TOLUIDINE_BLUE, Label.BONE, 0.8), seen(TOLUIDINE_BLUE, Label.BONE, 0.5)
    woven, bright = seen(TOLUIDINE_BLUE, Label.WOVEN, 0.4), seen(TOLUIDINE_BLUE, Label.WOVEN, 0.4, youth=1.0)
    soft, screw = seen(TOLUIDINE_BLUE, Label.SOFT), seen(TOLUIDINE_BLUE, Label.SCREW)
    for purple in (bone, young, woven):
        assert purple[2] > purple[0] > purple[1]
    assert bone.mean() > young.mean() > woven.mean()
    assert soft[2] > soft[1] > soft[0]
    assert bright[2] > 200 > 1.9 * bright[1]
    assert bright[2] > 3 * bright[0]
    assert screw.max() < 3


def test_haematoxylin_eosin_is_as_the_paper_says():
    # Section 2.1: bone is deep pink, soft tissue is purple, and the screw is lost.
    bone, marrow = seen(HAEMATOXYLIN_EOSIN, Label.BONE), seen(HAEMATOXYLIN_EOSIN, Label.MARROW)
    assert bone[0] > bone[2] > bone[1]
    assert marrow[2] > marrow[0] > marrow[1]
    assert seen(HAEMATOXYLIN_EOSIN, Label.SCREW).tolist() == [255, 255, 255]


@pytest.mark.parametrize("label", [Label.AIR, Label.TUBE])
@pytest.mark.parametrize("stain", list(STAINS))
def test_labels_without_tissue_are_transparent(label, stain):
    assert not STAINS[stain].absorbance_per_um(tissue(label)).any()
    assert not is_tissue(np.array([label]))[0]


def test_absorbance_of_a_tenth_over_40_um():
    assert absorbance_per_um((25.5, 255, 255)).tolist() == pytest.approx([1 / 40, 0, 0])


@pytest.fixture(scope="module")
def anatomy():
    return grow_anatomy(PhantomConfig(seed=2, shape=(32, 64, 64), voxel_um=60, orientation="lying"))


def test_a_section_is_the_points_of_its_grid_in_any_part(anatomy):
    config = anatomy.config
    section = Section(np.array([900.0, 0.0, 0.0]), np.array([0.0, 0.6, 0.8]), np.array([0.0, 0.8, -0.6]))
    transmission, labels = stain_section(anatomy, section, (90, 40), 30.0)
    part, part_labels = stain_points(anatomy, section, grid_um((90, 40), 30.0)[70:, 5:20], 30.0)
    # Points are single precision: a point on the edge of a tissue can fall on the other side.
    assert np.isclose(transmission[70:, 5:20], part, atol=1e-3).mean() > 0.99
    assert (labels[70:, 5:20] == part_labels).mean() > 0.99
    assert transmission.dtype == np.float32
    assert ((transmission >= 0) & (transmission <= 1)).all()
    assert (labels == Label.SCREW).any()
    assert config.histology.thickness_um == 40


def test_a_coarse_section_is_the_mean_of_a_fine_one(anatomy):
    section = Section(np.array([930.0, 800.0, 800.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    coarse, _ = stain_section(anatomy, section, (50, 50), 40.0)
    moved = Section(section.origin_um - [0, 15, 15], section.row, section.column)
    fine, _ = stain_section(anatomy, moved, (200, 200), 10.0)
    mean = -np.log10(np.maximum(fine, 1e-4)).reshape(50, 4, 50, 4, 3).mean(axis=(1, 3))
    ours = -np.log10(np.maximum(coarse, 1e-4))
    assert np.corrcoef(mean.ravel(), ours.ravel())[0, 1] > 0.97
    assert ours.mean() == pytest.approx(mean.mean(), rel=0.03)


def test_white_is_where_it_is_asked():
    ones = np.ones((1, 1, 3), np.float32)
    assert to_rgb(ones).tolist() == [[[243] * 3]]
    assert to_rgb(ones / 2, white=255.0).tolist() == [[[128] * 3]]


def test_every_stain_colours_every_tissue():
    for stain in STAINS.values():
        for label in (Label.SOFT, Label.MARROW, Label.BONE, Label.WOVEN, Label.LACUNA, Label.DEGRADATION):
            assert max(stain.colours[label]) < 245


def test_truth_of_a_slice_contains_the_screw(anatomy):
    rgb, mask = truth_slice(Specimen("s", anatomy.config, anatomy), 16)
    side = np.arange(64.0)
    points_um = np.stack(np.meshgrid([16.0], side, side, indexing="ij"), -1)[0] * 60
    labels = sample_tissue_in_volume(anatomy, points_um).label
    screw = labels == Label.SCREW
    assert (rgb.shape, rgb.dtype, mask.shape, mask.dtype) == ((64, 64, 3), np.uint8, (64, 64), bool)
    assert screw.sum() > 200
    # At the rim the section of 40 µm also contains tissue.
    assert rgb[ndimage.binary_erosion(screw)].max() < 5
    assert mask[is_tissue(labels)].all()  # up to the edge of the image, which the specimen reaches
    assert is_tissue(labels)[0].any()
    assert (rgb[labels == Label.AIR].min(axis=-1) > 200).mean() > 0.8


def test_errors_name_key_and_value():
    with pytest.raises(InputError, match=r"unknown key 'histology\.thicknes_um'; did you mean 'thickness_um'"):
        PhantomConfig.from_dict({"histology": {"thicknes_um": 10}})
    with pytest.raises(InputError, match="stain = 'haematoxylin'"):
        PhantomConfig.from_dict({"stain": "haematoxylin"})
