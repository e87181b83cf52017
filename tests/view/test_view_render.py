"""Volume rendering: compositing compared with its formula, VTK with compositing, and a ball of known colour."""

import subprocess
import sys

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.view.render import volume as render
from tomostain.view.render.camera import Camera, cut_away
from tomostain.view.render.composite import composite_projection, render_composite
from tomostain.view.render.volume import picture_of_volume, render_volume

vtk = pytest.mark.skipif(not render.has_vtk(), reason="VTK is not installed")


def ball(n=40, core=(0, 0, 255)):
    z, y, x = np.indices((n, n, n)) - (n - 1) / 2
    radius = np.sqrt(z**2 + y**2 + x**2)
    volume = np.zeros((n, n, n, 4), np.uint8)
    volume[radius < 0.4 * n] = (255, 0, 0, 255)
    volume[radius < 0.2 * n] = (*core, 255)
    return volume


def test_equal_layers_follow_the_power_law():
    # n layers of opacity a over white: C = c (1 - (1 - a)^n) + 255 (1 - a)^n.
    for n in (1, 3, 10):
        volume = np.full((n, 2, 3, 4), (100, 50, 0, 51), np.uint8)
        through = 0.8**n
        expected = np.array([100, 50, 0]) * (1 - through) + 255 * through
        assert np.abs(composite_projection(volume) - expected).max() <= 0.51


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_first_opaque_layer_hides_the_others(axis):
    volume = np.full((4, 4, 4, 4), (0, 0, 0, 255), np.uint8)
    first, last = [slice(None)] * 3, [slice(None)] * 3
    first[axis], last[axis] = 0, -1
    volume[(*first, slice(0, 3))], volume[(*last, slice(0, 3))] = (1, 2, 3), (4, 5, 6)
    assert (composite_projection(volume, axis) == (1, 2, 3)).all()
    assert (composite_projection(volume, axis, reverse=True) == (4, 5, 6)).all()
    assert composite_projection(volume[:2, :3, :4], axis).shape[:2] == tuple(np.delete((2, 3, 4), axis))


def test_rays_from_the_front_agree_with_the_projection_along_z():
    rng = np.random.default_rng(0)
    volume = np.repeat(rng.integers(0, 256, (1, 24, 24, 4), dtype=np.uint8), 12, axis=0)
    volume[..., 3] //= 8
    camera = Camera(0, 0, zoom=1.04)  # exact scale: one pixel per voxel
    rays = render_composite(volume, (5.0, 5.0, 5.0), size=(24, 24), camera=camera, unit_um=5.0)
    through = 1 - volume[0, ..., 3:] / 255
    full = volume[0, ..., :3] * (1 - through**11) + 255 * through**11
    # The ray sees 11 to 12 voxels: beyond the last centres the volume fades out.
    more = volume[0, ..., :3] * (1 - through**12) + 255 * through**12
    low, high = np.minimum(full, more) - 2, np.maximum(full, more) + 2
    assert ((rays >= low) & (rays <= high)).all()


@vtk
def test_a_red_ball_is_red_in_the_middle_and_white_in_the_corner():
    picture = render_volume(ball(), 10, size=(120, 90), camera=Camera(0, 0))
    assert picture.shape == (90, 120, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture[45, 60].astype(int) - (255, 0, 0)).max() <= 3
    assert (picture[0, 0] == 255).all()


@vtk
def test_a_cut_shows_the_core_and_both_renderers_agree():
    camera, size = Camera(), (120, 90)
    whole = render_volume(ball(), 10, size=size, camera=camera)
    cut = render_volume(ball(), 10, size=size, camera=camera, cut="half")
    blue = (cut[..., 2] > 200) & (cut[..., 0] < 60)
    assert blue.sum() > 100
    assert not ((whole[..., 2] > 200) & (whole[..., 0] < 60)).any()
    other = render_composite(cut_away(ball(), "half", camera), (10.0,) * 3, size=size, camera=camera, unit_um=10.0)
    assert np.abs(cut.astype(int) - other).mean() < 4
    assert (np.abs(cut.astype(int) - other).max(axis=-1) > 60).mean() < 0.03  # edges only


@vtk
def test_thick_voxels_stretch_the_picture():
    volume = np.full((10, 20, 20, 4), (200, 0, 0, 255), np.uint8)
    seen = [
        (render_volume(volume, voxel_um, size=(200, 200), camera=Camera(89.9, 0))[100] < 250).any(axis=-1).sum()
        for voxel_um in [(10, 10, 10), (20, 10, 10)]
    ]
    # From the side: 10 slices of 10 µm by 20 rows of 10 µm, then of 20 µm: half the width, then all of it.
    assert seen[0] / seen[1] == pytest.approx(0.5, abs=0.04)


@vtk
def test_nothing_is_printed_on_stderr_without_a_display():
    code = (
        "import numpy as np; from tomostain.view import picture_of_volume; "
        "print(picture_of_volume(np.full((8, 8, 8, 3), 90, np.uint8), 5, size=(40, 30)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PATH": ""})
    assert done.stdout.strip() == "(30, 40, 3)"
    assert done.stderr == ""


def test_without_vtk_one_line_reports_it_and_the_page_still_has_a_picture(monkeypatch):
    monkeypatch.setitem(sys.modules, "vtkmodules", None)
    with pytest.raises(InputError, match=r"pip install 'tomostain\[render\]'"):
        render_volume(ball(8), 10)
    rgb = np.full((16, 16, 16, 3), 245, np.uint8)
    rgb[4:12, 4:12, 4:12] = (120, 60, 150)
    picture = picture_of_volume(rgb, 10, size=(80, 60), cut="none")
    assert picture.shape == (30, 40, 3)
    red, green, blue = picture[15, 20].astype(int)
    assert green < red < blue < 200


@vtk
def test_too_large_a_volume_is_refused(monkeypatch):
    monkeypatch.setattr(render, "MAX_VOXELS", 10)
    with pytest.raises(InputError, match="coarser level"):
        render_volume(ball(8), 10)
