"""Virtual sections compared with slices of the array, known colours, spheres and analytic integrals."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.geometry.surfaces import curved_cut, plane_of
from tomostain.io import create_stained, open_slide, open_stained, write_stack
from tomostain.view.sections import read_points, section

VOXEL_UM = (10.0, 5.0, 4.0)
SHAPE = (20, 40, 50)


@pytest.fixture(scope="module")
def stained(tmp_path_factory) -> tuple[Path, np.ndarray]:
    volume = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("sections") / "stained.ome.zarr"
    writer = create_stained(path, SHAPE, VOXEL_UM, z_chunk=8, provenance={})
    for z0, z1 in writer.pending():
        writer.write(z0, volume[z0:z1])
    writer.finish()
    return path, volume


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


@pytest.mark.parametrize("verb", ["section", "export"])
def test_the_help_states_what_a_large_pixel_is(verb, capsys):
    run([verb, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "A pixel that is larger than the voxels is the mean over its area" in shown


def test_the_ct_is_cut_with_the_same_plane(stained, tmp_path):
    path, volume = stained
    write_stack(tmp_path / "ct", volume[..., 0].astype(np.uint16) * 100, voxel_um=VOXEL_UM)
    options = {"points_um": [(70.0, 0, 0)], "normal": (1, 0, 0), "pixel_um": 4.0}
    section(path, tmp_path / "s.ome.tif", ct=tmp_path / "ct", **options)
    colour, grey = tifffile.imread(tmp_path / "s.ome.tif"), tifffile.imread(tmp_path / "s.ct.ome.tif")
    assert colour.shape == grey.shape
    assert np.corrcoef(colour[::5, :, 0].ravel(), grey[::5, :, 0].ravel())[0, 1] > 0.99


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
        (["--axis", "w"], "--axis w: give z, y or x"),
        (["--through", "900,2,3", "--axis", "z"], "misses the volume, which reaches to"),
        (["--through", "1,2,3", "--axis", "z", "--thickness-um", "-1"], "the thickness is -1 µm"),
        (["--through", "1,2,3", "--axis", "z", "--blending", "sum"], "density or colour"),
        (["--through", "1,2,3", "--axis", "z", "--curved"], "needs one point and a plane"),
    ],
)
def test_impossible_sections_are_refused(stained, tmp_path, capsys, options, message):
    assert run(["section", str(stained[0]), str(tmp_path / "s.ome.tif"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s.ome.tif").exists()


def test_points_that_do_not_define_a_surface_are_refused(stained, tmp_path):
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


def test_a_plane_through_a_point_outside_of_the_volume_is_cut_where_it_crosses_it(stained, tmp_path):
    plane = ["--normal", "1,0,1", "--through", "-100,50,200"]
    assert run(["-q", "section", str(stained[0]), str(tmp_path / "a.ome.tif"), *plane]) == 0
    assert (tifffile.imread(tmp_path / "a.ome.tif") != 255).any()


def test_a_position_in_mm_is_noted(stained, tmp_path, capsys):
    assert (
        run(["-q", "section", str(stained[0]), str(tmp_path / "a.ome.tif"), "--axis", "z", "--through", "0.1,0.2,0.2"])
        == 0
    )
    assert "positions are in µm, not in mm" in capsys.readouterr().out
    assert (
        run(["-q", "section", str(stained[0]), str(tmp_path / "b.ome.tif"), "--axis", "z", "--through", "0,0,0"]) == 0
    )
    assert "not in mm" not in capsys.readouterr().out


def test_an_axis_alone_is_the_plane_in_the_middle(stained, tmp_path):
    path, _ = stained
    out = tmp_path / "middle.ome.tif"
    assert run(["-q", "section", str(path), str(out), "--axis", "z", "--pixel-um", "5"]) == 0
    between = tifffile.imread(out)  # of 20 slices, the middle lies between the slices 9 and 10
    assert (
        run(
            [
                "-q",
                "section",
                str(path),
                str(out),
                "--axis",
                "z",
                "--pixel-um",
                "5",
                "--through",
                "95,0,0",
                "--overwrite",
            ]
        )
        == 0
    )
    np.testing.assert_array_equal(between, tifffile.imread(out))
    assert run(["-q", "section", str(path), str(out), "--axis", "y", "--points", "p.csv", "--overwrite"]) == 2
