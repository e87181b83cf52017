"""Planes of the browser view: compared with analytic volumes, with the stored levels and with `geometry`."""

import shutil
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.view_volumes import (
    FACTOR,
    SIDE,
    STEP_UM,
    classes_of_position,
    colours_of_position,
    write_grey,
    write_view,
)
from tomostain.errors import InputError
from tomostain.geometry.oblique import oblique_axes
from tomostain.geometry.sampling import sample_section
from tomostain.geometry.surfaces import Cut
from tomostain.io import Volume, open_volume
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.levels import open_levels
from tomostain.view.browser import planes
from tomostain.view.browser.grey_copy import grey_copy, grey_window
from tomostain.view.browser.plane_layers import PlaneGrid, ct_layer, overlay_layer
from tomostain.view.browser.planes import TILE_PX, Tile, oblique_plane, sample_tile, standard_plane
from tomostain.view.browser.pyramid import BrickCache, Level, Pyramid, slices_level, zarr_levels

MIDDLE_UM = [(SIDE - 1) * STEP_UM / 2] * 3
ORIGIN = Tile(0, 0, 0)
AROUND = [Tile(0, row, column) for row in (-1, 0) for column in (-1, 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_view(tmp_path_factory.mktemp("view"))


def pyramid_of(path, channels=3, **options):
    return Pyramid(zarr_levels(open_levels(path), Placement(), channels), channels, BrickCache(), **options)


@pytest.fixture
def stain(folder):
    return pyramid_of(folder / "stained.ome.zarr")


@given(st.floats(-90, 90), st.floats(-90, 90))
def test_the_axes_of_a_tilted_plane_are_perpendicular_unit_vectors(tilt_x, tilt_y):
    axes = np.stack(oblique_axes(tilt_x, tilt_y))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(np.linalg.det(np.stack(oblique_axes(0, 0))))


@pytest.mark.parametrize(("axis", "tilt"), [("z", (0, 0)), ("y", (90, 0))])
def test_a_plane_tilted_by_a_right_angle_is_a_standard_plane(stain, axis, tilt):
    standard, _ = sample_tile(stain, standard_plane(axis, 100.0), ORIGIN, STEP_UM)
    offset = np.dot(oblique_axes(*tilt)[2], np.subtract(100.0, MIDDLE_UM) * [axis == each for each in "zyx"])
    plane = oblique_plane(*tilt, offset, MIDDLE_UM)
    corner = planes.Plane(plane.origin_um - (plane.down + plane.right) * MIDDLE_UM[0], plane.down, plane.right)
    tilted, _ = sample_tile(stain, corner, ORIGIN, STEP_UM)
    assert np.abs(tilted.astype(int) - standard).max() <= 1


@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_a_standard_plane_holds_the_stored_voxels(stain, axis):
    values, inside = sample_tile(stain, standard_plane(axis, 17 * STEP_UM), ORIGIN, STEP_UM)
    np.testing.assert_array_equal(values[:SIDE, :SIDE], colours_of_position().take(17, axis="zyx".index(axis)))
    assert inside[:SIDE, :SIDE].all()
    assert inside.sum() == SIDE**2
    assert not values[~inside].any()


def test_between_two_slices_the_plane_is_interpolated(stain):
    values, _ = sample_tile(stain, standard_plane("z", 17.25 * STEP_UM), ORIGIN, STEP_UM)
    assert (values[:SIDE, :SIDE, 0] == 17.25 * FACTOR).all()


@pytest.mark.parametrize("tilt", [(30, 0), (-50, 20), (10, 75), (89, 45)])
def test_a_tilted_plane_of_a_linear_volume_is_linear(stain, tilt):
    plane = oblique_plane(*tilt, 12.0, MIDDLE_UM)
    seen = 0
    for tile in AROUND:
        values, inside = sample_tile(stain, plane, tile, STEP_UM)
        rows, columns = tile.places_um(STEP_UM)
        places = plane.origin_um + rows[:, None, None] * plane.down + columns[None, :, None] * plane.right
        expected = np.clip(places / STEP_UM, 0, SIDE - 1) * FACTOR
        assert np.abs(values - expected)[inside].max() <= 0.51
        seen += inside.sum()
    assert seen > SIDE**2 / 2


def test_a_tilted_plane_agrees_with_the_sections_of_geometry(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 44, 48)).astype(np.uint8)
    pyramid = pyramid_of(write_grey(tmp_path / "noise.ome.zarr", noise), 1)
    plane = oblique_plane(25, -40, 7.0, (95.0, 105.0, 115.0))
    for tile in AROUND:
        values, inside = sample_tile(pyramid, plane, tile, STEP_UM)
        rows, columns = tile.places_um(STEP_UM)
        places = plane.origin_um + rows[:, None, None] * plane.down + columns[None, :, None] * plane.right
        normal = np.broadcast_to(np.cross(plane.down, plane.right), places.shape)
        volume = Volume.from_array(noise, STEP_UM)
        reference = sample_section(
            volume.block, noise.shape, (STEP_UM,) * 3, Cut(places, normal, STEP_UM), blending="colour"
        )
        both = inside & np.isfinite(reference[..., 0])
        assert both.sum() > 100
        assert np.abs(values[..., 0][both] - reference[..., 0][both]).max() <= 0.51


def test_a_tile_of_a_coarser_level_holds_the_voxels_of_that_level(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (10, 300, 280)).astype(np.uint8)
    path = write_grey(tmp_path / "wide.ome.zarr", noise)
    stored, pyramid = open_levels(path), pyramid_of(path, 1)
    assert len(pyramid.levels) == 2
    assert pyramid.levels[1].origin_um == (2.5, 2.5, 2.5)
    # The centre of the third coarse slice is between the slices 4 and 5.
    values, inside = sample_tile(pyramid, standard_plane("z", 4.5 * STEP_UM), Tile(1, 0, 0), STEP_UM)
    np.testing.assert_array_equal(values[:150, :140], stored.block(1, (2, 0, 0), (3, 150, 140))[0])
    assert inside.sum() == 150 * 140


def test_labels_are_never_mixed(folder):
    layer = overlay_layer(
        "labels", folder / "labels.ome.zarr", PlaneGrid((SIDE,) * 3, (STEP_UM,) * 3, Placement(), BrickCache())
    )
    assert [each["name"] for each in layer.labels][:2] == ["void", "soft tissue and marrow"]
    for plane in (standard_plane("y", 33.0), oblique_plane(33, 21, 3.0, MIDDLE_UM)):
        for tile in AROUND:
            sampled = sample_tile(layer.pyramid, plane, tile, STEP_UM)
            if sampled is not None:
                assert set(np.unique(sampled[0][sampled[1]])) <= set(np.unique(classes_of_position()))


def test_the_labels_of_a_folder_of_measures_are_found(folder, tmp_path):
    (tmp_path / "measure.yaml").write_text("{}\n")
    grid = PlaneGrid((SIDE,) * 3, (STEP_UM,) * 3, Placement(), BrickCache())
    with pytest.raises(InputError, match=r"holds no labels\.ome\.zarr"):
        overlay_layer("labels", tmp_path, grid)
    shutil.copytree(folder / "labels.ome.zarr", tmp_path / "labels.ome.zarr")
    assert len(overlay_layer("labels", tmp_path, grid).labels) > 1


def test_a_tile_outside_of_the_volume_is_nothing(stain):
    assert sample_tile(stain, standard_plane("z", -2 * STEP_UM), ORIGIN, STEP_UM) is None
    assert sample_tile(stain, standard_plane("z", 0.0), Tile(0, 1, 0), STEP_UM) is None
    assert sample_tile(stain, oblique_plane(20, 20, 1e6, MIDDLE_UM), ORIGIN, STEP_UM) is None


def test_a_tile_that_costs_too_much_comes_from_a_coarser_level(tmp_path, monkeypatch):
    path = write_grey(tmp_path / "wide.ome.zarr", np.full((10, 300, 280), 7, np.uint8))
    pyramid = pyramid_of(path, 1)
    monkeypatch.setattr(planes, "MAX_COST_BYTES", 1000)
    for plane in (standard_plane("z", 20.0), oblique_plane(5, 5, 0.0, (20.0, 700.0, 700.0))):
        pyramid.cache.__init__()
        values, inside = sample_tile(pyramid, plane, ORIGIN, STEP_UM)
        assert (values[inside] == 7).all()
        assert {key[1] for key in pyramid.cache._bricks} == {1}


def test_all_tiles_of_a_plane_come_from_one_level(tmp_path, monkeypatch):
    # The volume ends within the second tile: its border alone would cost less than a tile in the middle.
    path = write_grey(tmp_path / "wide.ome.zarr", np.full((10, 300, 280), 7, np.uint8))
    pyramid = pyramid_of(path, 1)
    monkeypatch.setattr(planes, "MAX_COST_BYTES", 2**17)
    for plane in (standard_plane("y", 600.0), oblique_plane(60, 5, 0.0, (20.0, 700.0, 700.0))):
        pyramid.cache.__init__()
        for tile in (*AROUND, Tile(0, 1, 0), Tile(0, 0, 1), Tile(0, 1, 1)):
            sample_tile(pyramid, plane, tile, STEP_UM)
        assert len({key[1] for key in pyramid.cache._bricks}) == 1


def test_a_whole_slice_is_read_although_it_is_larger_than_the_limit(folder, monkeypatch):
    volume = open_volume(folder / "ct")
    fine = slices_level(volume, grey_window(volume))
    coarse = Level((30,) * 3, (2 * STEP_UM,) * 3, (STEP_UM / 2,) * 3, (30,) * 3, lambda *_: pytest.fail("read"))
    monkeypatch.setattr(planes, "MAX_COST_BYTES", 1000)
    monkeypatch.setattr("tomostain.view.browser.pyramid._BAND_ROWS", 7)
    low, high = grey_window(volume)
    values, _ = sample_tile(Pyramid((fine, coarse), 1, BrickCache()), standard_plane("z", 20.0), ORIGIN, STEP_UM)
    expected = np.clip((1000 + 100 * np.arange(SIDE) - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(values[:SIDE, :SIDE, 0], np.broadcast_to(expected, (SIDE, SIDE)), atol=0.51)


def test_a_pixel_is_the_mean_of_its_voxels_also_where_slices_are_thick():
    stripes = np.zeros((4, 32, 32), np.uint8)
    stripes[:, ::2] = 200

    def read(first, end):
        return stripes[tuple(slice(a, b) for a, b in zip(first, end, strict=True))][..., None]

    level = Level(stripes.shape, (40.0, 5.0, 5.0), (0.0, 0.0, 0.0), stripes.shape, read)
    values, inside = sample_tile(Pyramid((level,), 1, BrickCache()), standard_plane("z", 40.0), Tile(1, 0, 0), 5.0)
    assert (values[inside] == 100).all()
    # In the plane across x, a pixel is four times smaller than a voxel along z, and two voxels wide along y.
    values, inside = sample_tile(Pyramid((level,), 1, BrickCache()), standard_plane("x", 0.0), Tile(1, 0, 0), 5.0)
    assert (values[inside] == 100).all()


def test_of_labels_without_coarser_level_a_coarse_tile_reads_small_blocks(tmp_path, monkeypatch):
    labels = np.zeros((200, 200, 200), np.uint8)
    labels[:, :, 100:] = 2
    blocks = []

    def read(first, end):
        return labels[tuple(slice(a, b) for a, b in zip(first, end, strict=True))][..., None]

    level = Level(labels.shape, (5.0, 5.0, 5.0), (0.0, 0.0, 0.0), (50, 50, 50), read)
    pyramid = Pyramid((level,), 1, BrickCache(), nearest=True)
    whole = Pyramid.block
    monkeypatch.setattr(Pyramid, "block", lambda self, *range_: blocks.append(whole(self, *range_)) or blocks[-1])
    values, inside = sample_tile(pyramid, oblique_plane(40, 30, 0.0, (500.0,) * 3), Tile(4, 0, 0), 5.0)
    assert set(np.unique(values[inside])) == {0, 2} or set(np.unique(values[inside])) == {2}
    assert max(block.size for block in blocks) <= 130**3


def test_the_window_is_that_of_every_nth_row_and_column_of_large_slices(monkeypatch):
    grey = np.linspace(0, 1000, 5 * 64 * 64, dtype=np.float32).reshape(5, 64, 64)
    exact = grey_window(Volume.from_array(grey, STEP_UM))
    assert exact == pytest.approx((1, 999), abs=0.1)
    monkeypatch.setattr("tomostain.view.browser.grey_copy._WINDOW_PIXELS", 5 * 16 * 16)
    assert grey_window(Volume.from_array(grey, STEP_UM)) == pytest.approx(exact, abs=20)


def test_of_a_binned_ct_the_planes_across_z_are_those_of_the_volume(tmp_path, folder):
    volume = open_volume(folder / "ct")
    grey_copy(volume, tmp_path / "copy.ome.zarr", max_voxels=30**3)
    grid = PlaneGrid(volume.shape, volume.voxel_um, Placement((0.0, 0.0, 50.0)), BrickCache())
    moved = ct_layer(volume, tmp_path / "copy.ome.zarr", Placement(), grid, grey_window(volume))
    assert [level.origin_um for level in moved.pyramid.levels] == [(0.0, 0.0, -50.0), (2.5, 2.5, -47.5)]
    grid = PlaneGrid(volume.shape, volume.voxel_um, Placement(), BrickCache())
    layer = ct_layer(volume, tmp_path / "copy.ome.zarr", Placement(), grid, grey_window(volume))
    assert [level.shape for level in layer.pyramid.levels] == [(SIDE,) * 3, (30,) * 3]
    low, high = layer.window
    expected = np.clip((1000 + 100 * np.arange(SIDE) - low) / (high - low), 0, 1) * 255
    values, _ = sample_tile(layer.pyramid, standard_plane("z", 20.0), ORIGIN, STEP_UM)
    np.testing.assert_allclose(values[5, :SIDE, 0], expected, atol=0.51)
    # Twice as large pixels of the volume would be the mean of 2 × 2 voxels, as in the copy.
    coarse, _ = sample_tile(layer.pyramid, standard_plane("z", 20.0), Tile(1, 0, 0), STEP_UM)
    np.testing.assert_allclose(coarse[5, : SIDE // 2, 0], expected.reshape(-1, 2).mean(axis=1), atol=1.01)


def test_a_map_of_another_volume_is_refused(folder, tmp_path):
    grid = PlaneGrid((SIDE,) * 3, (STEP_UM,) * 3, Placement(), BrickCache())
    other = write_grey(tmp_path / "other.ome.zarr", np.zeros((20, 30, 30), np.uint8))
    with pytest.raises(InputError, match=r"`uncertainty` .*covers 100 × 150 × 150 µm"):
        overlay_layer("uncertainty", other, grid)
    with pytest.raises(InputError, match=r"`labels` .*states no names"):
        overlay_layer("labels", folder / "uncertainty.ome.zarr", grid)
    with pytest.raises(InputError, match=r"holds uint16; give a volume of 8 bits"):
        overlay_layer("labels", write_grey(tmp_path / "u16.ome.zarr", np.zeros((9, 9, 9), np.uint16)), grid)
    with pytest.raises(InputError, match=r"`uncertainty` .*holds colours; give a volume of one channel"):
        overlay_layer("uncertainty", folder / "stained.ome.zarr", grid)
    with pytest.raises(InputError, match="give an OME-Zarr folder"):
        overlay_layer("labels", folder / "ct" / "slice_0000.tif", grid)
    with pytest.raises(InputError, match="is not an OME-Zarr image"):
        overlay_layer("labels", folder / "ct", grid)


def test_the_cache_is_bounded_and_drops_the_least_recently_used():
    cache, brick = BrickCache(max_bytes=250), np.zeros(100, np.uint8)
    for key in ("a", "b", "a", "c"):
        cache.get(key, lambda: brick)
    assert cache.size_bytes == 200
    reads = []
    for key in ("a", "c", "b"):
        cache.get(key, lambda key=key: reads.append(key) or brick)
    assert reads == ["b"]


def ask_at_once(cache, read):
    """Ask for a brick from three threads, and return what each of them got."""
    got, started = [], threading.Barrier(3)

    def ask():
        started.wait(60)
        try:
            got.append(int(cache.get("brick", read).sum()))
        except InputError as error:
            got.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return got


def test_threads_that_request_one_brick_read_it_once():
    reads = []

    def read():
        reads.append(1)
        time.sleep(0.05)
        return np.ones(3, np.uint8)

    assert ask_at_once(BrickCache(), read) == [3, 3, 3]
    assert len(reads) == 1


def test_an_error_reaches_all_threads_and_nothing_is_stored():
    def read():
        time.sleep(0.05)
        raise InputError("damaged")

    cache = BrickCache()
    assert ask_at_once(cache, read) == ["damaged"] * 3
    assert cache.size_bytes == 0
    assert ask_at_once(cache, lambda: np.ones(3, np.uint8)) == [3, 3, 3]


def test_a_tile_has_its_side_everywhere(stain):
    values, inside = sample_tile(stain, standard_plane("x", 0.0), Tile(3, 0, 0), STEP_UM)
    assert values.shape == (TILE_PX, TILE_PX, 3)
    assert inside.sum() == 8 * 8
