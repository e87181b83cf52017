"""Where the µCT is drawn next to a stained volume whose first voxel is not its own."""

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import create_stained, open_volume, write_stack
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.levels import open_levels
from tomostain.view.browser.ct_placement import ct_placement
from tomostain.view.browser.planes import Tile, sample_tile, standard_plane
from tomostain.view.browser.view import prepared_site

SIDE, STEP_UM = 40, 5.0


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """Write a µCT of grey values 1000 + 10 x."""
    grey = np.broadcast_to(1000 + 10 * np.arange(SIDE, dtype=np.uint16), (SIDE,) * 3)
    path = tmp_path_factory.mktemp("placed") / "ct"
    write_stack(path, np.ascontiguousarray(grey), voxel_um=(STEP_UM,) * 3)
    return path


def write_stained(path, shape, voxel_um, **options):
    writer = create_stained(path, shape, voxel_um, z_chunk=16, **{"provenance": {}} | options)
    for start, stop in writer.pending():
        writer.write(start, np.full((stop - start, *shape[1:], 3), 90, np.uint8))
    writer.finish()
    return path


def layers_of(site):
    """Return where the finest levels of µCT and stain begin, and where the 3D viewer shows the two volumes."""
    planes = {name: layer.pyramid.levels[0].origin_um for name, layer in site.planes.layers.items()}
    volumes = {name: open_levels(path).levels[0].placement.origin_um for name, path in site.volumes.items()}
    return planes, volumes


def test_the_ct_of_a_resampled_volume_begins_before_it(ct, tmp_path):
    resampled = {"resampled": {"origin_um": [7.5, 7.5, 7.5]}}
    stained = write_stained(tmp_path / "stained.ome.zarr", (10,) * 3, 20.0, provenance=resampled)
    with prepared_site(None, stained, ct) as site:
        planes, volumes = layers_of(site)
        layer = site.planes.layers["ct"]
        # The pixel at the centre of the third voxel of the stain, 40 + 7.5 µm from the first voxel of the µCT.
        values, _ = sample_tile(layer.pyramid, standard_plane("z", 40.0), Tile(0, 0, 0), 20.0)
    assert planes == {"ct": (-7.5,) * 3, "stain": (0.0,) * 3}
    assert np.subtract(volumes["stained.ome.zarr"], volumes["ct.ome.zarr"]).tolist() == [7.5] * 3
    low, high = layer.window
    assert values[2, 2, 0] == pytest.approx((1000 + 10 * 47.5 / STEP_UM - low) / (high - low) * 255, abs=1.5)


def test_the_ct_of_a_region_is_placed_by_its_own_placement(ct, tmp_path):
    placement = open_volume(ct).region((4, 0, 20), (24, 20, 40)).placement
    stained = write_stained(tmp_path / "stained.ome.zarr", (20,) * 3, STEP_UM, placement=placement)
    with prepared_site(None, stained, ct) as site:
        planes, volumes = layers_of(site)
    assert planes == {"ct": (-20.0, 0.0, -100.0), "stain": (0.0,) * 3}
    assert np.subtract(volumes["stained.ome.zarr"], volumes["ct.ome.zarr"]).tolist() == [20.0, 0.0, 100.0]


def test_a_copy_of_the_ct_without_placement_gets_that_of_the_stain(ct, tmp_path):
    placement = Placement((1000.0, 500.0, 0.0))
    stained = write_stained(tmp_path / "stained.ome.zarr", (SIDE,) * 3, STEP_UM, placement=placement)
    with prepared_site(None, stained, ct) as site:
        planes, volumes = layers_of(site)
    assert planes["ct"] == (0.0, 0.0, 0.0)
    assert volumes["ct.ome.zarr"] == placement.origin_um


@pytest.mark.parametrize(
    ("shape", "placement"),
    [
        ((20,) * 3, None),  # the µCT is larger, and nothing states which part was stained
        ((SIDE, SIDE, SIDE + 20), None),
        ((20,) * 3, Placement((150.0, 0.0, 0.0))),  # ends beyond the µCT
    ],
)
def test_a_ct_of_another_extent_is_refused(ct, tmp_path, shape, placement):
    stained = write_stained(tmp_path / "stained.ome.zarr", shape, STEP_UM, placement=placement)
    with (
        pytest.raises(InputError, match=r"`ct` .*covers 200 × 200 × 200 µm from .*give the volume that was stained"),
        prepared_site(None, stained, ct),
    ):
        pass


def test_a_ct_with_other_directions_is_refused(ct, tmp_path):
    from dataclasses import replace

    from tomostain.io import open_stained

    turned = Placement((5.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)))
    stained = write_stained(tmp_path / "stained.ome.zarr", (SIDE,) * 3, STEP_UM, placement=Placement((5.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="its axes have other directions"):
        ct_placement(replace(open_volume(ct), placement=turned), open_stained(stained))
