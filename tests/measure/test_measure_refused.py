"""Labels without uncertain voxels."""

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import create_ome_zarr, create_stained
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.refused import RefusedLabels, open_uncertainty

SHAPE = (4, 6, 8)
LABELS = LabelArray(np.full(SHAPE, TissueClass.BONE, np.uint8), 20.0)
VALUES = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)


def write(writer, values):
    for start, stop in writer.pending():
        writer.write(start, values[start:stop])
    writer.finish()


@pytest.mark.parametrize("kind", ["of stain", "grey", "float"])
def test_voxels_above_the_threshold_are_refused(tmp_path, kind):
    if kind == "of stain":
        write(create_stained(tmp_path / "map", SHAPE, 20.0, provenance={}), np.repeat(VALUES[..., None], 3, axis=3))
    elif kind == "grey":
        write(create_ome_zarr(tmp_path / "map", SHAPE, 20.0, provenance={}), VALUES)
    else:
        values = VALUES.astype(np.float32) / 255
        write(create_ome_zarr(tmp_path / "map", SHAPE, 20.0, provenance={}, dtype="float32"), values)
    refused = RefusedLabels(LABELS, open_uncertainty(tmp_path / "map", LABELS), 100 / 255 + 1e-6)
    expected = np.where(VALUES > 100, TissueClass.NOT_MEASURED, TissueClass.BONE)
    np.testing.assert_array_equal(refused.read(1, 4), expected[1:4])
    assert refused.shape == SHAPE
    assert refused.voxel_um == (20.0, 20.0, 20.0)


def test_a_map_of_another_grid_is_refused(tmp_path):
    write(create_ome_zarr(tmp_path / "map", (4, 6, 9), 20.0, provenance={}), np.zeros((4, 6, 9), np.uint8))
    with pytest.raises(InputError, match="has 4 x 6 x 9 voxels, but the measured volume has 4 x 6 x 8"):
        open_uncertainty(tmp_path / "map", LABELS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(SHAPE, 1.5, np.float32), r"holds values from 1\.5 to 1\.5"),
        (np.zeros(SHAPE, np.uint16), "holds uint16; an uncertainty is uint8, or float"),
    ],
)
def test_other_values_are_refused(tmp_path, values, message):
    write(create_ome_zarr(tmp_path / "map", SHAPE, 20.0, provenance={}, dtype=values.dtype), values)
    with pytest.raises(InputError, match=message):
        open_uncertainty(tmp_path / "map").read(0, 2)
