"""Virtual datasets of HDF5: parts that are missing, short or not written are errors, or zeros that are recorded."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import open_volume
from tomostain.io.volumes.hdf5_virtual import Coverage

VOLUME = (np.arange(9 * 12 * 10).reshape(9, 12, 10) + 1).astype(np.uint16)
FILL = 7777


def _parts(folder: Path) -> None:
    for number in range(3):
        with h5py.File(folder / f"p{number}.h5", "w") as file:
            file["d"] = VOLUME[3 * number : 3 * number + 3]


def _virtual(folder: Path, fill: Callable[[h5py.VirtualLayout], None]) -> None:
    layout = h5py.VirtualLayout(VOLUME.shape, "u2")
    fill(layout)
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_virtual_dataset("v", layout, fillvalue=FILL)


def _stacked(folder: Path, *numbers: int) -> None:
    def fill(layout: h5py.VirtualLayout) -> None:
        for number in numbers:
            layout[3 * number : 3 * number + 3] = h5py.VirtualSource(f"p{number}.h5", "d", (3, 12, 10))

    _parts(folder)
    _virtual(folder, fill)


def _numbered(folder: Path) -> None:
    """Write a virtual dataset of ``p%b.h5``, as detectors do that do not know how long a scan will be."""
    _parts(folder)
    unlimited = h5py.h5s.UNLIMITED
    with h5py.File(folder / "v.h5", "w", libver="latest") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_fill_value(np.array(FILL, "u2"))
        space = h5py.h5s.create_simple(VOLUME.shape, (unlimited, 12, 10))
        space.select_hyperslab((0, 0, 0), (unlimited, 1, 1), stride=(3, 1, 1), block=(3, 12, 10))
        source = h5py.h5s.create_simple((3, 12, 10))
        source.select_hyperslab((0, 0, 0), (1, 1, 1), block=(3, 12, 10))
        settings.set_virtual(space, b"p%b.h5", b"d", source)
        whole = h5py.h5s.create_simple(VOLUME.shape, (unlimited, 12, 10))
        h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_UINT16, whole, settings)


def _check(folder: Path, missing: tuple[tuple[int, int], ...], expected: np.ndarray) -> None:
    """Check that missing data are an error, and that `allow_missing` fills them with zeros and records them."""
    if missing:
        with pytest.raises(InputError, match="no data were written for slice"):
            open_volume(folder / "v.h5", voxel_um=5)
    volume = open_volume(folder / "v.h5", voxel_um=5, allow_missing=bool(missing))
    assert volume.missing == missing
    np.testing.assert_array_equal(np.asarray(volume), expected)
    np.testing.assert_array_equal(volume.read(4, 6), expected[4:6])


def _without(*slices: int) -> np.ndarray:
    expected = VOLUME.copy()
    expected[list(slices)] = 0
    return expected


def test_complete_ones_are_read(tmp_path: Path) -> None:
    _stacked(tmp_path, 0, 1, 2)
    _check(tmp_path, (), VOLUME)


def test_numbered_parts_are_read(tmp_path: Path) -> None:
    _numbered(tmp_path)
    _check(tmp_path, (), VOLUME)


@pytest.mark.parametrize("make", [lambda folder: _stacked(folder, 0, 1, 2), _numbered])
def test_a_file_that_is_gone_is_an_error(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    (tmp_path / "p1.h5").unlink()
    for allow_missing in (False, True):
        with pytest.raises(InputError, match=r"its part p1\.h5 is missing"):
            open_volume(tmp_path / "v.h5", voxel_um=5, allow_missing=allow_missing)


def test_a_gap_is_filled_with_zeros_and_not_with_the_fill_value(tmp_path: Path) -> None:
    _stacked(tmp_path, 0, 2)
    _check(tmp_path, ((3, 6),), _without(3, 4, 5))


def test_a_part_without_its_dataset_is_missing(tmp_path: Path) -> None:
    _stacked(tmp_path, 0, 1, 2)
    with h5py.File(tmp_path / "p1.h5", "w") as file:
        file["other"] = 1
    _check(tmp_path, ((3, 6),), _without(3, 4, 5))


@pytest.mark.parametrize(("fill", "zeros"), [(99, (3, 4, 5)), (0, (4, 5))])
def test_a_part_of_which_chunks_were_not_written_is_missing(tmp_path: Path, fill: int, zeros: tuple[int, ...]) -> None:
    _stacked(tmp_path, 0, 1, 2)
    with h5py.File(tmp_path / "p1.h5", "w") as file:
        file.create_dataset("d", (3, 12, 10), "u2", chunks=(1, 12, 10), fillvalue=fill)[0] = VOLUME[3]
    _check(tmp_path, ((3, 6),), _without(*zeros))


def test_a_short_part_is_an_error(tmp_path: Path) -> None:
    _stacked(tmp_path, 0, 1, 2)
    with h5py.File(tmp_path / "p1.h5", "w") as file:
        file["d"] = VOLUME[3:5]
    with pytest.raises(InputError, match="no data were written for slices 3 to 5"):
        open_volume(tmp_path / "v.h5", voxel_um=5)
    with pytest.raises(InputError, match="cannot be read"):
        open_volume(tmp_path / "v.h5", voxel_um=5, allow_missing=True).read(3, 6)


def test_slices_in_two_dimensions_are_searched_too(tmp_path: Path) -> None:
    def fill(layout: h5py.VirtualLayout) -> None:
        for z, image in enumerate(VOLUME):
            rows = 4 if z == 4 else 12
            with h5py.File(tmp_path / f"s{z}.h5", "w") as file:
                file.create_dataset("d", (12, 10), "u2", chunks=(4, 10), fillvalue=99)[:rows] = image[:rows]
            layout[z] = h5py.VirtualSource(f"s{z}.h5", "d", (12, 10))

    _virtual(tmp_path, fill)
    _check(tmp_path, ((4, 5),), _without(4))


def test_a_mapped_part_of_a_larger_dataset_is_complete(tmp_path: Path) -> None:
    """Chunks outside of the part that is mapped may be missing."""
    with h5py.File(tmp_path / "p.h5", "w") as file:
        stored = file.create_dataset("d", (20, 12, 10), "u2", chunks=(1, 12, 10), fillvalue=99)
        stored[5:14] = VOLUME

    def fill(layout: h5py.VirtualLayout) -> None:
        layout[:] = h5py.VirtualSource("p.h5", "d", (20, 12, 10))[5:14]

    _virtual(tmp_path, fill)
    _check(tmp_path, (), VOLUME)


def test_interleaved_parts(tmp_path: Path) -> None:
    for first in range(2):
        with h5py.File(tmp_path / f"p{first}.h5", "w") as file:
            file["d"] = VOLUME[first::2]

    def fill(layout: h5py.VirtualLayout) -> None:
        layout[0::2] = h5py.VirtualSource("p0.h5", "d", (5, 12, 10))
        layout[1::2] = h5py.VirtualSource("p1.h5", "d", (4, 12, 10))

    _virtual(tmp_path, fill)
    _check(tmp_path, (), VOLUME)


def test_parts_that_overlap_do_not_hide_a_gap(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["d"] = VOLUME

    def fill(layout: h5py.VirtualLayout) -> None:
        source = h5py.VirtualSource("p.h5", "d", VOLUME.shape)
        layout[:5] = source[:5]
        layout[1:5] = source[1:5]
        layout[6:] = source[6:]

    _virtual(tmp_path, fill)
    _check(tmp_path, ((5, 6),), _without(5))


def test_a_gap_within_slices(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["d"] = VOLUME

    def fill(layout: h5py.VirtualLayout) -> None:
        layout[:, :7] = h5py.VirtualSource("p.h5", "d", VOLUME.shape)[:, :7]

    _virtual(tmp_path, fill)
    expected = VOLUME.copy()
    expected[:, 7:] = 0
    _check(tmp_path, ((0, 9),), expected)


def test_a_gap_of_a_virtual_part_is_found(tmp_path: Path) -> None:
    _stacked(tmp_path, 0, 1, 2)
    (tmp_path / "p1.h5").rename(tmp_path / "q.h5")
    layout = h5py.VirtualLayout((3, 12, 10), "u2")
    layout[:2] = h5py.VirtualSource("q.h5", "d", (3, 12, 10))[:2]
    with h5py.File(tmp_path / "p1.h5", "w") as file:
        file.create_virtual_dataset("d", layout, fillvalue=55)
    _check(tmp_path, ((3, 6),), _without(3, 4, 5))


def test_a_link_in_a_part_to_a_file_outside_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    _stacked(folder, 0, 1, 2)
    (folder / "p1.h5").rename(tmp_path / "secret.h5")
    with h5py.File(folder / "p1.h5", "w") as file:
        file["d"] = h5py.ExternalLink("../secret.h5", "/d")
    with pytest.raises(InputError, match="lies outside of"):
        open_volume(folder / "v.h5", voxel_um=5)


def test_coverage_equals_that_of_single_voxels() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        shape = tuple(int(n) for n in rng.integers(1, 9, 3))
        covered, places = np.zeros(shape, bool), []
        for _ in range(int(rng.integers(0, 6))):
            ends = [np.sort(rng.integers(0, side + 1, 2)) for side in shape]
            places.append(tuple(((int(a), int(b)),) for a, b in ends))
            covered[tuple(slice(int(a), int(b)) for a, b in ends)] = True
        coverage = Coverage(shape, places)
        for axis in range(3):
            gaps = {index for start, stop in coverage.gaps(axis) for index in range(start, stop)}
            others = tuple(other for other in range(3) if other != axis)
            assert gaps == set(np.flatnonzero(~covered.all(axis=others)).tolist())
        start, stop = sorted(int(n) for n in rng.integers(0, shape[0] + 1, 2))
        column = int(rng.integers(shape[2]))
        values = np.ones((stop - start, shape[1]))
        coverage.zero_outside(values, [slice(start, stop), slice(None), column])
        np.testing.assert_array_equal(values, covered[start:stop, :, column])
