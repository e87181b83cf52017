"""Lacunae and canals, on ellipsoids and tubes of known size and on the phantom."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass, phantom_classes
from tomostain.measure.label_source import LabelArray
from tomostain.measure.measures import by_key
from tomostain.measure.morphometry.cavities import canal_volume, canals, cavity_measures, find_lacunae, narrow_cavities
from tomostain.measure.morphometry.cavity_voxels import CavityOptions
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.sampler import sample_tissue
from tomostain.phantom.tissue import Label

BONE, SOFT, VOID = TissueClass.BONE, TissueClass.SOFT, TissueClass.VOID
Labels = NDArray[np.uint8]


def bone(*shape: int) -> Labels:
    """Return a block of bone."""
    return np.full(shape, BONE, np.uint8)


def carve_ellipsoid(labels: Labels, centre: NDArray[np.float64], semi: tuple[float, float, float], seed: int) -> None:
    """Set an ellipsoid in a random pose to soft tissue."""
    rotation = Rotation.random(None, np.random.default_rng(seed)).as_matrix()
    local = (np.moveaxis(np.indices(labels.shape), 0, -1) - centre) @ rotation
    labels[((local / semi) ** 2).sum(axis=-1) < 1] = SOFT


def test_ellipsoids_are_counted_and_measured() -> None:
    """Sixteen lacunae of 268 µm³; a small and a large cavity do not count."""
    labels = bone(48, 48, 48)
    rng = np.random.default_rng(0)
    for index in range(16):
        at = 6 + 12 * np.array(np.unravel_index(index, (4, 4, 1)))
        carve_ellipsoid(labels, at + rng.uniform(-0.5, 0.5, 3), (4, 2, 1), index)
    labels[30, 30, 30] = SOFT
    labels[28:40, 30:46, 24:40] = VOID
    values = by_key(cavity_measures(LabelArray(labels, 2.0)))
    expected = 4 / 3 * math.pi * 8 * 2.0**3
    volume = np.count_nonzero(labels == BONE) * 8e-9
    assert values["lacunar_number_density", "all"].value == pytest.approx(16 / volume)
    assert values["lacunar_volume", "all"].value == pytest.approx(expected, rel=0.1)
    fraction = 100 * 16 * values["lacunar_volume", "all"].value * 1e-9 / volume
    assert values["lacunar_volume_fraction", "all"].value == pytest.approx(fraction)
    assert values["lacunar_number_density", "all"].note == ""


def test_cavities_at_the_border_count_half_and_blocks_do_not_matter() -> None:
    """A cavity through the border of blocks counts once, one at the border of the volume half."""
    labels = bone(40, 30, 30)
    labels[8:12, 10:14, 10:13] = SOFT
    labels[19:23, 20:24, 10:13] = VOID
    labels[30:34, 0:4, 10:13] = SOFT
    source = LabelArray(labels, 2.0)
    for max_bytes in (10**9, 12 * 900 * 3):
        lacunae = find_lacunae(source, CavityOptions(max_bytes=max_bytes))
        assert lacunae.number == 2.5
        np.testing.assert_allclose(lacunae.volumes_um3, [384, 384])


def test_cavities_at_the_implant_or_unknown_voxels_are_no_lacunae() -> None:
    """A gap between implant and bone, and a hole next to unknown voxels."""
    labels = bone(30, 30, 30)
    labels[5:15, 5:15, 5:15] = TissueClass.METAL
    labels[5:9, 5:9, 15:18] = SOFT
    labels[20:24, 20:24, 20] = TissueClass.NOT_MEASURED
    labels[20:24, 20:24, 21:24] = SOFT
    assert find_lacunae(LabelArray(labels, 2.0)).number == 0
    values = by_key(cavity_measures(LabelArray(labels, 2.0)))
    assert values["lacunar_number_density", "all"].value == 0
    assert math.isnan(values["lacunar_volume", "all"].value)
    assert "no lacunae" in values["lacunar_volume", "all"].note


def with_spaces() -> Labels:
    """Return bone with an open canal, 40 µm wide, a marrow space that it leads to, and another marrow space."""
    labels = bone(64, 64, 64)
    y, x = np.indices((64, 64)) - 31.5
    labels[:44, np.hypot(y, x) < 4] = SOFT
    labels[44:] = SOFT
    labels[:30, :, 48:] = SOFT
    return labels


def test_an_open_canal_is_found_and_wide_spaces_are_not() -> None:
    """The canal leads to marrow; its volume is that of the tube, for all blocks."""
    labels = with_spaces()
    tube = np.count_nonzero(labels[:44, 20:44, 20:44] == SOFT) * 1000.0
    source = LabelArray(labels, 5.0 * 2)
    for max_bytes in (10**9, 12 * 64 * 64 * 7):
        assert canal_volume(source, CavityOptions(max_bytes=max_bytes)) == pytest.approx(tube, rel=0.03)
    values = by_key(cavity_measures(source))
    fraction = 100 * tube / (np.count_nonzero(labels == BONE) * 1000.0)
    assert values["canal_volume_fraction", "all"].value == pytest.approx(fraction, rel=0.03)
    assert values["canal_volume_fraction", "all"].note == ""
    coarse = by_key(cavity_measures(LabelArray(labels, 12.0)))
    assert "narrow marrow spaces may be among them" in coarse["canal_volume_fraction", "all"].note
    assert math.isnan(values["lacunar_number_density", "all"].value)
    assert "voxels of 10 µm do not resolve lacunae" in values["lacunar_number_density", "all"].note
    assert canal_volume(source, CavityOptions(canal_um=60, canal_um3=5e6)) == 0
    assert canal_volume(source, CavityOptions(canal_um=30)) == 0


def test_lacunae_and_canals_of_the_phantom() -> None:
    """In the cortex, at 4 µm, against the labels of the phantom; at 20 µm canals only."""
    anatomy = grow_anatomy(PhantomConfig(seed=1))
    tibia = anatomy.tibia
    centre = np.array([tibia.top_um + tibia.thickness_um / 2, 1300 * tibia.axis[1], 1300 * tibia.axis[2]])
    grid = np.moveaxis(np.indices((64, 64, 64)), 0, -1) * 4.0 - 126.0
    truth = sample_tissue(anatomy, (grid + centre).astype(np.float32), finest_um=4.0).label
    labels = phantom_classes(truth)
    source = LabelArray(labels, 4.0)
    values = by_key(cavity_measures(source))
    bone_um3 = np.count_nonzero(np.isin(labels, (BONE, TissueClass.NEW_BONE))) * 64.0
    share = 100 * np.count_nonzero(truth == Label.LACUNA) * 64.0 / bone_um3
    assert values["lacunar_volume_fraction", "all"].value == pytest.approx(share, rel=0.2)
    assert values["lacunar_number_density", "all"].value == pytest.approx(29_000, rel=0.15)
    assert values["lacunar_volume", "all"].value == pytest.approx(225, rel=0.1)
    assert "1.6 voxels" in values["lacunar_volume", "all"].note
    canal = 100 * np.count_nonzero(truth == Label.CANAL) * 64.0 / bone_um3
    assert values["canal_volume_fraction", "all"].value == pytest.approx(canal, rel=0.05)
    options = CavityOptions()
    parts = narrow_cavities(source, options)
    mask = np.concatenate([parts.read(i, canals(source, parts, options)) for i in range(len(parts.blocks))])
    overlap = np.count_nonzero(mask & (truth == Label.CANAL))
    assert 2 * overlap / (np.count_nonzero(mask) + np.count_nonzero(truth == Label.CANAL)) > 0.95


def test_what_cannot_be_measured_is_said() -> None:
    """No bone; voxels that are too large; wrong options."""
    nothing = cavity_measures(LabelArray(np.full((8, 8, 8), SOFT, np.uint8), 2.0))
    assert {each.note for each in nothing} == {"no bone"}
    coarse = by_key(cavity_measures(LabelArray(bone(8, 8, 8), 30.0)))
    assert "voxels of 30 µm do not resolve canals" in coarse["canal_volume_fraction", "all"].note
    assert all(math.isnan(each.value) for each in coarse.values())
    with pytest.raises(InputError, match="`lacuna_um3`"):
        CavityOptions(lacuna_um3=(5, 1))
    with pytest.raises(InputError, match="`canal_um` is 0"):
        CavityOptions(canal_um=0)
    with pytest.raises(InputError, match="`enclosed` is 2"):
        CavityOptions(enclosed=2)
