"""Previews: single slices and oblique planes of a volume that is not stained yet."""

import warnings

import numpy as np
import pytest

from tests.support.toys import LEVELS, grey_values, toy_model
from tomostain.errors import InputError, OutOfDistributionWarning
from tomostain.geometry.surfaces import plane_cut
from tomostain.io import Volume
from tomostain.stain import StainConfig, StainRequest, stain_volume
from tomostain.stain.preview import open_preview


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("preview") / "model")


@pytest.fixture(scope="module")
def volume():
    return Volume.from_array(grey_values((20, 24, 28)), 5.0)


@pytest.mark.parametrize("config", [StainConfig(), StainConfig(gaussian_sigma=1.0), StainConfig(statistics="volume")])
def test_a_slice_is_that_of_the_stained_volume(model, volume, config):
    whole = stain_volume(model, volume, config=config, intensity=LEVELS)
    plane = open_preview(StainRequest(model, volume, config=config, intensity=LEVELS)).slice(7)
    np.testing.assert_allclose(plane.rgb.astype(int), whole[7].astype(int), atol=1)
    np.testing.assert_array_equal(plane.ct, volume[7])
    assert plane.pixel_um == (5, 5)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_slices_along_other_axes(model, volume, axis, sigma):
    config = StainConfig(planes="yx"[axis - 1], gaussian_sigma=sigma)
    whole = stain_volume(model, volume, config=config, intensity=LEVELS)
    preview = open_preview(StainRequest(model, volume, config=StainConfig(gaussian_sigma=sigma), intensity=LEVELS))
    for index in (0, 9, volume.shape[axis] - 1):
        plane = preview.slice(index, axis)
        np.testing.assert_allclose(plane.rgb.astype(int), np.take(whole, index, axis).astype(int), atol=1)
        np.testing.assert_array_equal(plane.ct, np.take(volume[:], index, axis))


def test_a_plane_along_z_is_the_slice_and_white_outside(model, volume):
    preview = open_preview(StainRequest(model, volume, intensity=LEVELS))
    size = (95.0, 115.0, 135.0)
    plane = preview.plane(plane_cut((35.0, 0.0, 0.0), (1, 0, 0), size, 5.0))
    slice_7 = preview.slice(7)
    np.testing.assert_allclose(plane.ct, slice_7.ct, atol=1e-2)
    np.testing.assert_allclose(plane.rgb.astype(int), slice_7.rgb.astype(int), atol=1)
    tilted = preview.plane(plane_cut((47.0, 57.0, 67.0), (1, 1, 1), size, 5.0))
    outside = np.isnan(tilted.ct)
    assert 0 < outside.mean() < 1
    assert (tilted.rgb[outside] == 255).all()


def test_a_model_of_several_slices_sees_the_neighbours(tmp_path, volume):
    network = {"name": "resnet", "in_channels": 3, "width": 2, "blocks": 1}
    model = toy_model(tmp_path / "model", network, in_channels=3, ct_slices=3)
    whole = stain_volume(model, volume, intensity=LEVELS)
    preview = open_preview(StainRequest(model, volume, intensity=LEVELS))
    np.testing.assert_allclose(preview.slice(7).rgb.astype(int), whole[7].astype(int), atol=1)
    along_x = stain_volume(model, volume, config=StainConfig(planes="x"), intensity=LEVELS)
    for index in (0, 13, 27):
        np.testing.assert_allclose(preview.slice(index, 2).rgb.astype(int), along_x[:, :, index].astype(int), atol=1)
    plane = preview.plane(plane_cut((35.0, 0.0, 0.0), (1, 0, 0), (95.0, 115.0, 135.0), 5.0))
    np.testing.assert_allclose(plane.rgb.astype(int), whole[7].astype(int), atol=1)


def test_normalised_values_and_what_is_refused(model, volume):
    preview = open_preview(StainRequest(model, volume, intensity="normalised"))
    assert preview.slice(0).rgb.shape == (24, 28, 3)
    assert preview.novelty == ""
    with pytest.raises(InputError, match="has no slice 20 along axis 0"):
        preview.slice(20)


def test_slices_across_voxels_that_are_no_cubes_are_named(model):
    # The model was trained on pixels of 5 µm; the rows of slices along y and x are 15 µm high.
    flat = Volume.from_array(grey_values((8, 24, 28)), (15.0, 5.0, 5.0))
    preview = open_preview(StainRequest(model, flat, intensity=LEVELS))
    for axis in (1, 2):
        with pytest.warns(OutOfDistributionWarning, match=rf"15 x 5 x 5 µm are not cubes.*along {'zyx'[axis]}"):
            preview.slice(3, axis)
    cubes = Volume.from_array(grey_values((8, 24, 28)), (5.3, 5.0, 5.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutOfDistributionWarning)
        preview.slice(3)
        open_preview(StainRequest(model, cubes, intensity=LEVELS)).slice(3, 1)
