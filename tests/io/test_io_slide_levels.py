"""The pixel size of the levels of a slide: objects keep their place at every level, whatever the numbers of rows."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.imaging.slide_reference import shrink_slide
from tomostain.io import open_slide, write_slide
from tomostain.io.slide_levels import slide_levels

PIXEL_UM = 0.5


@pytest.fixture(scope="module", params=[(1025, 3000), (2001, 2600), (2000, 2600)])
def marked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[int, int]]:
    """Return a slide with a dark square far from its first pixel, and the square's centre (row, column)."""
    rows, columns = request.param
    centre = rows - 150, columns - 200
    slide = np.full((rows, columns, 3), 255, np.uint8)
    slide[tuple(slice(at - 40, at + 41) for at in centre)] = 0
    path = tmp_path_factory.mktemp("marked") / "slide.ome.tif"
    write_slide(path, slide, PIXEL_UM)
    return path, centre


@pytest.mark.parametrize("wanted_um", [0.5, 1.0, 2.0, 4.0])
def test_an_object_has_the_same_place_at_every_level(marked: tuple[Path, tuple[int, int]], wanted_um: float) -> None:
    path, centre = marked
    rgb, pixel_um, first_um = shrink_slide(open_slide(path), wanted_um)
    darkness = 255.0 - rgb[..., 0]
    sides = enumerate(darkness.shape)
    found = [np.average(np.arange(side), weights=darkness.sum(axis=1 - axis)) for axis, side in sides]
    np.testing.assert_allclose(np.multiply(found, pixel_um) + first_um, np.multiply(centre, PIXEL_UM), atol=0.1)


def test_a_written_slide_states_the_pixel_size_of_every_level(marked: tuple[Path, tuple[int, int]]) -> None:
    with tifffile.TiffFile(marked[0]) as tif:
        for number, level in enumerate(tif.series[0].levels):
            resolution = level.keyframe.get_resolution("MICROMETER")
            assert [1 / value for value in resolution] == pytest.approx([PIXEL_UM * 2**number] * 2, rel=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 4, 16, 64, 128, 256, 2.5])
@pytest.mark.parametrize("rounded", [np.floor, np.ceil, np.round])
@pytest.mark.parametrize("finest", [(2049, 10007), (4097, 4097), (65537, 90113)])
def test_levels_with_rounded_sides(factor: float, rounded: np.ufunc, finest: tuple[int, int]) -> None:
    rows, columns = (int(rounded(side / factor)) for side in finest)
    _, (shape, pixel_um) = slide_levels([finest, (rows, columns)], 0.25)
    assert shape == (rows, columns)
    # A factor that is not a whole number is known as well as the longer side is: within one pixel of it.
    assert pixel_um == pytest.approx(0.25 * factor, rel=1e-12 if factor == int(factor) else factor / max(finest))
