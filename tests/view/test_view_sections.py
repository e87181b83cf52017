"""Virtual sections compared with slices of the array, known colours, spheres and analytic integrals."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.geometry.surfaces import curved_cut, plane_cut, plane_of
from tomostain.io import create_stained, open_slide, open_stained, write_stack
from tomostain.view.sections import depths, read_points, sample_section, section

VOXEL_UM = (10.0, 5.0, 4.0)
SHAPE = (20, 40, 50)
SIZE_UM = tuple((n - 1) * step for n, step in zip(SHAPE, VOXEL_UM, strict=True))
# The three channels of the volume at (z, y, x) µm: linear, so trilinear interpolation has no error.
GRADIENT = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, 0.2, 0.5]])


def linear() -> np.ndarray:
    places = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, VOXEL_UM, strict=True)), indexing="ij"), -1)
    return (places @ GRADIENT.T).astype(np.float32)


def block_of(volume: np.ndarray):
    return lambda first, end: volume[tuple(slice(a, b) for a, b in zip(first, end, strict=True))]


@pytest.fixture(scope="module")
def stained(tmp_path_factory) -> tuple[Path, np.ndarray]:
    volume = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("sections") / "stained.ome.zarr"
    writer = create_stained(path, SHAPE, VOXEL_UM, z_chunk=8, provenance={})
    for z0, z1 in writer.pending():
        writer.write(z0, volume[z0:z1])
    writer.finish()
    return path, volume


@pytest.mark.parametrize(("axis", "index"), [(0, 7), (1, 39), (2, 0)])
def test_a_plane_across_an_axis_is_the_slice_itself(axis, index):
    volume = np.random.default_rng(1).random((9, 9, 9, 3), dtype=np.float32)
    index = min(index, 8)
    middle, normal = np.full(3, 4.0), np.eye(3)[axis]
    middle[axis] = index
    cut = plane_cut(middle, normal, (8, 8, 8), 1.0)
    found = sample_section(block_of(volume), (9, 9, 9), (1, 1, 1), cut, blending="colour")
    # Rows and columns keep the order of the array's axes, (z, y), (z, x) or (y, x).
    np.testing.assert_allclose(found, volume.take(index, axis=axis), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda n: np.linalg.norm(n) > 0.1), st.floats(0, 30))
def test_on_any_plane_a_linear_volume_has_its_analytic_values(normal, thickness):
    middle = np.array(SIZE_UM) / 2
    cut = plane_cut(middle, normal, SIZE_UM, 3.0)
    np.testing.assert_allclose((cut.places_um - middle) @ cut.normals[0, 0], 0, atol=1e-6)
    found = sample_section(block_of(linear()), SHAPE, VOXEL_UM, cut, thickness, "colour")
    # Where the whole thickness is inside, its mean is the value in its middle.
    margin = thickness / 2 + 1e-3
    inside = ((cut.places_um > margin) & (cut.places_um < np.array(SIZE_UM) - margin)).all(axis=-1)
    np.testing.assert_allclose(found[inside], (cut.places_um @ GRADIENT.T)[inside], atol=2e-3)
    outside = ((cut.places_um < -margin) | (cut.places_um > np.array(SIZE_UM) + margin)).any(axis=-1)
    assert np.isnan(found[outside]).all()


def test_a_sphere_cut_off_its_middle_has_the_radius_of_geometry():
    n, radius, offset = 64, 20.0, 12.0
    z, y, x = np.mgrid[:n, :n, :n] - (n - 1) / 2
    ball = ((z**2 + y**2 + x**2) <= radius**2).astype(np.float32)
    normal = np.array([1.0, 1.0, 1.0]) / np.sqrt(3)
    cut = plane_cut((n - 1) / 2 + offset * normal, normal, (n - 1,) * 3, 0.5)
    found = sample_section(block_of(ball), ball.shape, (1, 1, 1), cut, blending="colour")
    area = np.nansum(found) * 0.5**2
    assert np.sqrt(area / np.pi) == pytest.approx(np.sqrt(radius**2 - offset**2), rel=0.02)


def test_density_averages_as_light_is_dimmed():
    volume = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (255, 63)])
    cut = plane_cut((0.5, 0, 0), (1, 0, 0), (1, 7, 7), 1.0)
    found = sample_section(block_of(volume), volume.shape[:3], (1, 1, 1), cut, 2.0)
    # Layers at z 0 and 1: transmittances (v + 1) / 256 of 1 and 1/4, whose geometric mean is 1/2.
    np.testing.assert_allclose(found, 127, atol=1e-3)
    assert depths(2.0, 1.0).tolist() == [-0.5, 0.5]


def test_a_curved_surface_leads_through_its_points_and_is_flat_where_they_are():
    rng = np.random.default_rng(2)
    across = rng.uniform(10, 90, (12, 2))
    points = np.column_stack([50 + 0.002 * (across[:, 0] - 50) ** 2, across])
    cut = curved_cut(points, (100, 100, 100), 1.0)
    flat = cut.places_um.reshape(-1, 3)
    for point in points:
        # The spline passes through the point; the nearest pixel is within half a pixel's diagonal.
        assert np.linalg.norm(flat - point, axis=1).min() < 1.0
    assert 1.0 <= cut.stretch < 1.3
    np.testing.assert_allclose(np.linalg.norm(cut.normals, axis=2), 1, atol=1e-9)
    level = curved_cut([(50, 0, 0), (50, 90, 0), (50, 0, 90), (50, 90, 90)], (100, 100, 100), 1.0)
    np.testing.assert_allclose(level.places_um[..., 0], 50, atol=1e-6)
    assert level.stretch == pytest.approx(1)


def test_the_written_section_is_the_slice_with_its_pixel_size(stained, tmp_path):
    path, volume = stained
    out = tmp_path / "s.ome.tif"
    section(path, out, points_um=[(70.0, 0, 0)], normal=(1, 0, 0), pixel_um=4.0)
    # Columns of 4 µm are those of the volume; rows of 4 µm lie between its own, but for every fifth.
    np.testing.assert_array_equal(tifffile.imread(out)[::5], volume[7, ::4])
    slide = open_slide(out)
    assert slide.pixel_um == pytest.approx(4.0)


def test_the_ct_is_cut_alike(stained, tmp_path):
    path, volume = stained
    write_stack(tmp_path / "ct", volume[..., 0].astype(np.uint16) * 100, voxel_um=VOXEL_UM)
    options = {"points_um": [(70.0, 0, 0)], "normal": (1, 0, 0), "pixel_um": 4.0}
    section(path, tmp_path / "s.ome.tif", ct=tmp_path / "ct", **options)
    colour, grey = tifffile.imread(tmp_path / "s.ome.tif"), tifffile.imread(tmp_path / "s.ct.ome.tif")
    assert colour.shape == grey.shape
    assert np.corrcoef(colour[::5, :, 0].ravel(), grey[::5, :, 0].ravel())[0, 1] > 0.99


def test_only_what_is_near_the_section_is_read():
    asked = []

    def block(first, end):
        asked.append(np.prod(np.subtract(end, first)))
        return np.zeros((*np.subtract(end, first), 3), np.uint8)

    shape = (1000, 1000, 1000)
    cut = plane_cut((500, 500, 500), (1, 0.02, 0), (999,) * 3, 4.0)
    sample_section(block, shape, (1, 1, 1), cut, 4.0)
    assert max(asked) < 520 * 520 * 40


def test_the_verb_cuts_by_points(stained, tmp_path, capsys):
    path, volume = stained
    points, out = tmp_path / "points.csv", tmp_path / "p.ome.tif"
    points.write_text("z_um,y_um,x_um\n70,0,0\n70,100,0\n70,0,100\n")
    assert run(["section", str(path), str(out), "--points", str(points), "--pixel-um", "4"]) == 0
    assert "50 x 49 pixels of 4 µm" in capsys.readouterr().out
    np.testing.assert_array_equal(tifffile.imread(out)[::5], volume[7, ::4])
    assert run(["section", str(path), str(out), "--points", str(points)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "or --points FILE.csv"),
        (["--through", "1,2", "--axis", "z"], "three numbers z,y,x"),
        (["--through", "1,2,3"], "together with --normal or --axis"),
        (["--through", "1,2,3", "--axis", "q"], "give z, y or x"),
        (["--through", "1,2,3", "--axis", "z", "--normal", "1,0,0"], "give either"),
        (["--through", "1,2,3", "--normal", "0,0,0"], "is not a direction"),
        (["--through", "900,2,3", "--axis", "z"], "misses the volume"),
        (["--through", "1,2,3", "--axis", "z", "--thickness-um", "-1"], "the thickness is -1 µm"),
        (["--through", "1,2,3", "--axis", "z", "--blending", "sum"], "density or colour"),
        (["--through", "1,2,3", "--axis", "z", "--curved"], "needs one point and a plane"),
    ],
)
def test_what_cannot_be_cut_is_told(stained, tmp_path, capsys, options, message):
    assert run(["section", str(stained[0]), str(tmp_path / "s.ome.tif"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s.ome.tif").exists()


def test_points_that_make_no_surface_are_told(stained, tmp_path):
    with pytest.raises(InputError, match="three or more"):
        plane_of([(0, 0, 0), (1, 1, 1)])
    with pytest.raises(InputError, match="on a line"):
        plane_of([(0, 0, 0), (1, 1, 1), (2, 2, 2)])
    with pytest.raises(InputError, match=r"name it NAME\.ome\.tif"):
        section(stained[0], tmp_path / "s.png", points_um=[(0, 0, 0)], normal=(1, 0, 0))
    table = tmp_path / "points.csv"
    table.write_text("z_um,y_um\n1,2\n")
    with pytest.raises(InputError, match="no column x_um"):
        read_points(table)
    table.write_text("z_um,y_um,x_um\n1,2,3\n1,2,here\n")
    with pytest.raises(InputError, match="line 3"):
        read_points(table)


def test_a_block_is_the_part_of_the_volume(stained):
    path, volume = stained
    np.testing.assert_array_equal(open_stained(path).block((3, 5, 7), (9, 8, 30)), volume[3:9, 5:8, 7:30])


def test_many_points_need_little_memory_and_a_curved_surface_has_a_limit():
    points = np.random.default_rng(0).random((20_000, 3)) * (2, 90, 90) + (50, 0, 0)
    tracemalloc.start()
    middle, normal = plane_of(points)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    np.testing.assert_allclose(middle, points.mean(axis=0))
    assert abs(normal[0]) > 0.999
    with pytest.raises(InputError, match="at most 4000 points, found 20000"):
        curved_cut(points, (100, 100, 100), 1.0)
