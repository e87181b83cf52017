"""One volume in every input format is stained to the same bytes; the grey levels are measured in each."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from tests.support.formats import FORMATS, GAIN, in_another_scale, read_slices, stained
from tests.support.models import random_model
from tomostain.io import open_stained

VOXEL_UM = 19.5
SHAPE = (5, 40, 44)


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> Path:
    """Rods of bone in marrow: 8-bit slices without a voxel size, like the real data."""
    folder = tmp_path_factory.mktemp("slices")
    rng = np.random.default_rng(3)
    rods = ndimage.gaussian_filter(rng.standard_normal(SHAPE), (1, 3, 3))
    grey = np.where(rods > np.quantile(rods, 0.6), 150.0, 60.0) + rng.normal(0, 4, SHAPE)
    for number, image in enumerate(np.rint(ndimage.gaussian_filter(grey, 0.5)).astype(np.uint8)):
        tifffile.imwrite(folder / f"bone_{number:04d}.tif", image, metadata=None)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return random_model(tmp_path_factory.mktemp("models") / "model", norm="channel", width=2, gain=GAIN)


@pytest.fixture(scope="module")
def expected(slices, model, tmp_path_factory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("expected") / "stained.ome.zarr"
    _, sums = stained(model, slices, out, VOXEL_UM)
    drawn = open_stained(out).read(0, SHAPE[0])
    assert drawn.std(axis=(0, 1, 2)).max() > 10  # otherwise all volumes would give the same result
    assert len(sums) == len(open_stained(out).levels) > 0
    return sums


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_stained_to_the_same_bytes(name, slices, model, expected, tmp_path):
    form = FORMATS[name]
    if "itk" in repr(form.write):
        pytest.importorskip("SimpleITK")
    values = read_slices(slices)
    stored = values if form.dtype is None else (values * form.unit).astype(form.dtype)
    path = form.write(tmp_path, stored, **({"voxel_um": VOXEL_UM} if form.says_size else {}))
    opened, sums = stained(model, path, tmp_path / "stained.ome.zarr", None if form.says_size else VOXEL_UM)
    np.testing.assert_allclose(opened.voxel_um, (VOXEL_UM,) * 3, rtol=1e-5)
    assert sums == expected


def test_another_grey_scale_changes_no_more_than_rounding_does(slices, model, tmp_path):
    stained(model, slices, tmp_path / "as-it-came.ome.zarr", VOXEL_UM)
    most, part = in_another_scale(model, slices, tmp_path, VOXEL_UM)
    assert most <= 1
    assert part < 1e-3


def test_another_volume_is_stained_to_other_bytes(slices, model, expected, tmp_path):
    values = read_slices(slices)
    values[2, 5, 5] ^= 64
    for number, image in enumerate(values):
        tifffile.imwrite(tmp_path / f"bone_{number:04d}.tif", image, metadata=None)
    _, sums = stained(model, tmp_path, tmp_path / "stained.ome.zarr", VOXEL_UM)
    assert sums.keys() == expected.keys()
    assert sums["0/c/0/0/0/0"] != expected["0/c/0/0/0/0"]
