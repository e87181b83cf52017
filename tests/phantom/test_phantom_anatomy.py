"""The specimen: sizes from bone histology, equal at every resolution, and reproducible from the same seed."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label as components
from skimage.measure import regionprops
from skimage.morphology import skeletonize

from tomostain.phantom import Label, PhantomConfig, grow_anatomy
from tomostain.phantom.sampler import sample_tissue, sample_tissue_in_volume

BONE = (Label.BONE, Label.WOVEN)


@pytest.fixture(scope="module")
def specimen():
    return grow_anatomy(PhantomConfig(seed=1))


def box(centre, shape, step):
    axes = [c + (np.arange(n) - (n - 1) / 2) * step for c, n in zip(centre, shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)


def in_cortex(anatomy, across_um, below_um=350.0):
    """A point in the cortex, next to the screw along the bone."""
    tibia = anatomy.tibia
    return np.array([tibia.top_um + below_um, 0, 0]) + across_um * tibia.axis


def frame(anatomy, centre, shape, step):
    """A box with sides along z, across the bone and along the bone."""
    local = box((0, 0, 0), shape, step)
    tibia = anatomy.tibia
    turned = local[..., :1] * [1.0, 0, 0] + local[..., 1:2] * tibia.across + local[..., 2:] * tibia.axis
    return (turned + centre).astype(np.float32)


def whole(*labels):
    """Return the regions of a boolean image that do not touch its border."""
    image = labels[0]
    sizes = components(image)
    touched = {0}
    for axis in range(image.ndim):
        touched |= set(np.unique(np.take(sizes, [0, -1], axis=axis)))
    return [region for region in regionprops(sizes) if region.label not in touched]


def test_every_tissue_is_there(specimen):
    wide = sample_tissue(specimen, box((0, 0, 0), (90, 200, 200), 60.0))
    fine = sample_tissue(specimen, box(in_cortex(specimen, 1700), (60, 60, 60), 4.0))
    assert set(np.unique(wide.label)) | set(np.unique(fine.label)) == set(Label)


def test_attributes_belong_to_their_tissues(specimen):
    tissue = sample_tissue(specimen, box((-400, 0, 0), (90, 90, 90), 40.0))
    assert tissue.label.dtype == np.uint8
    bone = np.isin(tissue.label, BONE)
    assert (tissue.mineral[bone] > 0).all()
    assert tissue.mineral.max() <= 1
    assert not tissue.mineral[~bone & (tissue.label != Label.DEGRADATION)].any()
    assert not tissue.youth[~bone].any()
    assert not tissue.fibre[bone].any()
    young, old = (np.median(tissue.mineral[tissue.label == kind]) for kind in (Label.WOVEN, Label.BONE))
    assert young < 0.75 * old
    woven, mature = (tissue.label == kind for kind in (Label.WOVEN, Label.BONE))
    assert tissue.youth[woven].mean() > 0.4 > 0.15 > tissue.youth[mature].mean()


def test_lacunae_are_5_to_15_um_long(specimen):
    # Light microscopy of rat bone shows lengths of 10 to 15 µm and a thickness of at least 5 µm. The limits are 5–15.
    # The corner of a canal or an osteon can clip a lacuna, so the test requires nine in ten.
    step = 1.25
    points = frame(specimen, in_cortex(specimen, 1700), (120, 120, 120), step)
    hollow = sample_tissue(specimen, points).label == Label.LACUNA
    regions = [region for region in whole(hollow) if region.area > 8]
    lengths = np.array([region.axis_major_length for region in regions]) * step
    assert len(lengths) > 30
    assert ((lengths > 5) & (lengths < 15.5)).mean() > 0.9
    # Hollows: 0.3 to 3 % of the bone, the reported range of lacunar porosity.
    assert 0.003 < hollow.mean() < 0.03


def test_canals_are_20_to_60_um_wide_and_run_along_the_bone(specimen):
    step = 4.0
    diameters = []
    for along in (1300, 1500, 1700, -1300, -1500, -1700):
        points = frame(specimen, in_cortex(specimen, along), (110, 350, 1), step)
        canal = sample_tissue(specimen, points, finest_um=20).label[..., 0] == Label.CANAL
        radius = ndimage.distance_transform_edt(canal)
        diameters += [2 * radius[region.slice].max() * step for region in whole(canal) if region.area > 8]
    assert len(diameters) > 15
    assert 20 < np.median(diameters) < 60
    assert ((np.array(diameters) > 16) & (np.array(diameters) < 64)).mean() > 0.9
    points = frame(specimen, in_cortex(specimen, 1700), (60, 120, 120), 5.0)
    canal = sample_tissue(specimen, points, finest_um=20).label == Label.CANAL
    # Mean intercept length: the extent of a canal across and along the bone.
    across, along = (canal.sum() / np.maximum(np.diff(canal, axis=axis).sum(), 1) for axis in (1, 2))
    assert along > 2 * across


def test_lamellae_make_bands(specimen):
    tissue = sample_tissue(specimen, frame(specimen, in_cortex(specimen, 1700), (200, 40, 40), 1.0))
    flat = sample_tissue(specimen, frame(specimen, in_cortex(specimen, 1700), (200, 40, 40), 1.0), finest_um=20)
    both = (tissue.label == Label.BONE) & (flat.label == Label.BONE)
    bands = (tissue.mineral - flat.mineral)[both]
    assert bands.std() > 0.015
    assert abs(bands.mean()) < 0.01


def test_trabeculae_are_60_to_150_um_thick_and_hold_together(specimen):
    step = 15.0
    points = box((900, 1700, 0), (80, 80, 80), step)
    bone = np.isin(sample_tissue(specimen, points, finest_um=20).label, [Label.BONE])
    # Exclude the border, where objects that are cut look thin.
    thickness = 2 * ndimage.distance_transform_edt(bone)[skeletonize(bone)] * step
    assert 60 < np.median(thickness) < 150
    assert 0.08 < bone.mean() < 0.5
    sizes = np.bincount(components(bone).ravel())[1:]
    assert sizes.max() / sizes.sum() > 0.85


def test_adipocytes_are_cells_of_50_to_120_um(specimen):
    step = 4.0
    points = box((900, 1700, 0), (90, 90, 90), step)
    fat = sample_tissue(specimen, points, finest_um=20).label == Label.ADIPOCYTE
    # The walls are thinner than the step. An erosion separates neighbours, and then the rim is added again.
    eroded = whole(ndimage.binary_erosion(fat, iterations=2))
    sizes = np.array([region.equivalent_diameter_area + 4 for region in eroded if region.area > 100]) * step
    assert len(sizes) > 5
    assert 50 < np.median(sizes) < 120


def counts(**settings):
    tissue = sample_tissue(
        grow_anatomy(PhantomConfig(seed=4, **settings)), box((0, 0, 0), (60, 60, 60), 45.0), finest_um=45
    )
    return np.bincount(tissue.label.ravel(), minlength=len(Label))


def test_magnesium_goes_and_its_layer_and_new_bone_grow_with_the_weeks():
    four, eight, twelve = (counts(material="Mg-10Gd", weeks=weeks) for weeks in (4, 8, 12))
    assert four[Label.DEGRADATION] < eight[Label.DEGRADATION] < twelve[Label.DEGRADATION]
    assert four[Label.SCREW] > eight[Label.SCREW] > twelve[Label.SCREW]
    assert four[Label.WOVEN] < eight[Label.WOVEN] < twelve[Label.WOVEN]


def test_titanium_and_peek_stay_whole_and_peek_has_more_soft_tissue_at_it():
    titanium, peek = counts(material="Ti"), counts(material="PEEK")
    assert titanium[Label.DEGRADATION] == peek[Label.DEGRADATION] == 0
    assert titanium[Label.SCREW] == peek[Label.SCREW]
    assert peek[Label.SOFT] > titanium[Label.SOFT]


def test_outside_the_block_there_is_air_and_the_wall_of_the_tube(specimen):
    points = box((0, 0, 0), (5, 121, 121), 100.0)
    label = sample_tissue(specimen, points).label
    rho = np.hypot(points[..., 1], points[..., 2])
    assert set(np.unique(label[rho > 3000])) == {Label.AIR, Label.TUBE}
    assert not (label[rho < 4100] == Label.TUBE).any()
    assert (label[(rho > 5010) & (rho < 5190)] == Label.TUBE).all()


def test_a_point_has_one_tissue_in_every_query(specimen):
    fine = box((-1000, 900, 300), (36, 36, 36), 2.5)
    whole_grid = sample_tissue(specimen, fine)
    coarse = sample_tissue(specimen, fine[::3, ::3, ::3])
    one = sample_tissue(specimen, fine[18, 18, 18])
    for name in ("label", "mineral", "youth", "fibre"):
        assert np.array_equal(getattr(whole_grid, name)[::3, ::3, ::3], getattr(coarse, name))
        assert getattr(one, name) == getattr(whole_grid, name)[18, 18, 18]


def test_the_same_seed_grows_the_same_bits_and_another_does_not(specimen):
    points = box((0, 1000, 0), (40, 40, 40), 30.0)
    first = sample_tissue(specimen, points)
    again = sample_tissue(grow_anatomy(PhantomConfig(seed=1)), points)
    other = sample_tissue(grow_anatomy(PhantomConfig(seed=2)), points)
    assert np.array_equal(first.label, again.label)
    assert np.array_equal(first.mineral, again.mineral)
    assert (first.label != other.label).mean() > 0.2


def test_turning_the_specimen_turns_its_tissues():
    points = box((0, 0, 0), (40, 40, 40), 60.0)
    upright = grow_anatomy(PhantomConfig(seed=6, orientation="upright"))
    turned = grow_anatomy(PhantomConfig(seed=6))
    a = sample_tissue_in_volume(upright, upright.pose.to_volume(points)).label
    b = sample_tissue_in_volume(turned, turned.pose.to_volume(points)).label
    # Rounding moves a point by max 1e-4 µm.
    assert (a == b).mean() > 0.9999


def test_a_lying_screw_is_parallel_to_y():
    anatomy = grow_anatomy(PhantomConfig(seed=1, orientation="lying", material="Ti"))
    metal = sample_tissue_in_volume(anatomy, box(anatomy.pose.translation_um, (60, 60, 60), 80.0)).label == Label.SCREW
    extent = [np.ptp(axis) * 80 for axis in np.nonzero(metal)]
    assert extent == pytest.approx([2000, 4000, 2000], abs=160)
