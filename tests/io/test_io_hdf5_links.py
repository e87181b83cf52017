"""Links and external values of HDF5: followed inside the folder, never outside; damage is one line."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import open_volume

VOLUME = np.random.default_rng(0).integers(0, 60000, (4, 5, 6)).astype(np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "parts").mkdir(parents=True)
    for name in ("outside.h5", "in/parts/part.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["v"] = VOLUME
    return tmp_path / "in"


def _refused(path: Path, says: str, **options: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_volume(path, voxel_um=5, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def _is_volume(path: Path, **options: str) -> None:
    np.testing.assert_array_equal(open_volume(path, voxel_um=5, **options).read(1, 4), VOLUME[1:4])  # type: ignore[arg-type]


def test_soft_and_external_links_in_the_folder_are_followed(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["group/deep"] = h5py.SoftLink("/other/link")
        file["other/link"] = h5py.SoftLink("external/v")
        file["other/external"] = h5py.ExternalLink("parts/part.h5", "/")
    _is_volume(folder / "a.h5")
    _is_volume(folder / "a.h5", dataset="/group/deep")


def test_two_names_of_one_dataset_are_one_volume(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["raw/v"] = VOLUME
        file["hard"] = file["raw/v"]
        file["soft"] = h5py.SoftLink("/raw/v")
        file["raw/self"] = file["raw"]
    _is_volume(folder / "a.h5")


@pytest.mark.parametrize("target", ["../outside.h5", "{tmp}/outside.h5", "parts/../../outside.h5", "linked.h5"])
def test_links_out_of_the_folder_are_refused(folder: Path, target: str) -> None:
    (folder / "linked.h5").symlink_to(folder.parent / "outside.h5")
    with h5py.File(folder / "a.h5", "w") as file:
        file["v"] = h5py.ExternalLink(target.format(tmp=folder.parent), "/v")
        file["soft"] = h5py.SoftLink("/v")
    _refused(folder / "a.h5", "holds no three-dimensional dataset; .* lies outside of")
    _refused(folder / "a.h5", "link v to .* lies outside of .*, and is not read; copy it there", dataset="v")
    _refused(folder / "a.h5", "lies outside of", dataset="soft")
    with h5py.File(folder / "a.h5", "a") as file:
        file["own"] = VOLUME + 1
    assert open_volume(folder / "a.h5", voxel_um=5).read(0, 1)[0, 0, 0] == VOLUME[0, 0, 0] + 1


def test_a_link_that_leads_out_of_a_linked_file_is_refused(folder: Path) -> None:
    with h5py.File(folder / "b.h5", "w") as file:
        file["v"] = h5py.ExternalLink("../outside.h5", "/v")
    with h5py.File(folder / "a.h5", "w") as file:
        file["v"] = h5py.ExternalLink("b.h5", "/v")
    _refused(folder / "a.h5", "holds no three-dimensional dataset; .* lies outside of")


def test_a_missing_file_of_a_link_is_named(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["v"] = h5py.ExternalLink("lost.h5", "/v")
        file["w"] = h5py.SoftLink("/nothing")
    _refused(folder / "a.h5", r"not read: link v to lost\.h5 is missing; copy it next to it; link w leads to nothing")


def test_loops_of_links(folder: Path) -> None:
    with h5py.File(folder / "b.h5", "w") as file:
        file["x"] = h5py.ExternalLink("a.h5", "/x")
    with h5py.File(folder / "a.h5", "w") as file:
        file["one"], file["two"] = h5py.SoftLink("/two"), h5py.SoftLink("/one")
        file["x"] = h5py.ExternalLink("b.h5", "/x")
        file["up"] = h5py.SoftLink("/")
    _refused(folder / "a.h5", "holds no three-dimensional dataset")
    _refused(folder / "a.h5", "`dataset`: one is not in the file", dataset="one")


@pytest.mark.parametrize("name", ["../secret.raw", "{tmp}/secret.raw", "missing.raw", "pipe.raw"])
def test_external_values_outside_of_the_folder_are_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret.raw").write_bytes(VOLUME.tobytes())
    os.mkfifo(folder / "pipe.raw")
    with h5py.File(folder / "a.h5", "w") as file:
        external = [(name.format(tmp=folder.parent), 0, VOLUME.nbytes)]
        file.create_dataset("v", VOLUME.shape, "<u2", external=external)
    _refused(folder / "a.h5", "its data file .*(lies outside of|is missing|is not a regular file)")


def test_external_values_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "values.raw").write_bytes(VOLUME.tobytes())
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("v", VOLUME.shape, "<u2", external=[("values.raw", 0, VOLUME.nbytes)])
    (folder.parent / "values.raw").write_bytes(bytes(VOLUME.nbytes))
    monkeypatch.chdir(folder.parent)
    _is_volume(folder / "a.h5")


def test_a_link_to_a_file_next_to_its_parts(folder: Path) -> None:
    layout = h5py.VirtualLayout(VOLUME.shape, VOLUME.dtype)
    layout[:] = h5py.VirtualSource("parts/part.h5", "v", VOLUME.shape)
    (folder / "values.raw").write_bytes(VOLUME.tobytes())
    (folder.parent / "links").mkdir()
    for name in ("virtual", "raw", "link"):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            if name == "virtual":
                file.create_virtual_dataset("v", layout)
            elif name == "raw":
                file.create_dataset("v", VOLUME.shape, "<u2", external=[("values.raw", 0, VOLUME.nbytes)])
            else:
                file["v"] = h5py.ExternalLink("parts/part.h5", "/v")
        (folder.parent / "links" / f"{name}.h5").symlink_to(folder / f"{name}.h5")
        _is_volume(folder.parent / "links" / f"{name}.h5")
    (folder / "parts" / "part.h5").unlink()
    _refused(folder.parent / "links" / "virtual.h5", r"its part parts/part\.h5 is missing")


@pytest.mark.parametrize("part", ["../outside.h5", "/etc/passwd", "nested.h5"])
def test_virtual_datasets_with_parts_outside_are_refused(folder: Path, part: str) -> None:
    nested = h5py.VirtualLayout(VOLUME.shape, VOLUME.dtype)
    nested[:] = h5py.VirtualSource("../outside.h5", "v", VOLUME.shape)
    with h5py.File(folder / "nested.h5", "w") as file:
        file.create_virtual_dataset("v", nested)
    together = h5py.VirtualLayout(VOLUME.shape, VOLUME.dtype)
    together[:] = h5py.VirtualSource(part, "v", VOLUME.shape)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_virtual_dataset("v", together)
    with pytest.raises(InputError, match=r"its part .* lies outside of"):
        open_volume(folder / "a.h5", voxel_um=5)


def test_deeply_nested_groups_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file["/"]
        for _ in range(3000):
            group = group.create_group("g")
        group["v"] = VOLUME
    _refused(tmp_path / "a.h5", "its groups are nested more than 100 deep")


def test_too_many_objects_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomostain.io.metadata.hdf5_tree.MAX_OBJECTS", 50)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(60):
            file.create_group(str(number))
    _refused(tmp_path / "a.h5", "holds more than 50 objects")


def test_damaged_bytes_give_a_one_line_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/v"] = VOLUME
        file["group/v"].attrs["element_size_um"] = [5.0] * 3
        file["soft"] = h5py.SoftLink("/group/v")
    whole = (tmp_path / "a.h5").read_bytes()
    rng = np.random.default_rng(1)
    heap = whole.index(b"HEAP")
    positions = [*range(heap, heap + 40, 3), *rng.integers(0, len(whole), 60).tolist()]
    for position in positions:
        data = bytearray(whole)
        data[position : position + 4] = rng.bytes(4)
        (tmp_path / "b.h5").write_bytes(data)
        try:
            volume = open_volume(tmp_path / "b.h5", voxel_um=5)
            message = str(volume.read(0, volume.shape[0]).ndim)
        except InputError as error:
            message = str(error)
        assert message == "3" or (message.startswith(str(tmp_path)) and "\n" not in message)


def test_a_chunk_that_declares_far_more_than_is_stored(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("v", (4, 16000, 16000), "u2", chunks=(1, 16000, 16000), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), b"\x78\x9c\x03\x00\x00\x00\x00\x01")
    _refused(tmp_path / "a.h5", r"states .* GB of values, but holds .* MB of compressed data")
