"""Colours with the channels before the rows in memory: the writer reads them in order, and every file is the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.toys import LEVELS, RESNET, contents, grey_values, toy_model
from tomostain.io import Volume, create_stained, write_image, write_stack
from tomostain.io.ome_zarr.scratch import Scratch
from tomostain.io.ome_zarr.shard_file import ShardLayout
from tomostain.io.ome_zarr.writer import OmeZarrWriter
from tomostain.stain import StainConfig, StainJob, load_translator, stain_slice, stain_volume
from tomostain.stain.pixels import to_bytes
from tomostain.stain.slice_stainer import SliceStainer
from tomostain.stain.transfer import Transfer
from tomostain.tiling.noise import FIRST_SLICE
from tomostain.view.export.formats import export

CHANNEL = RESNET | {"norm": "channel"}
SHAPE = (7, 50, 41)
STAGED = pytest.mark.parametrize("staged", [False, True], ids=["CPU", "device"])


def _planar(values: NDArray[Any]) -> NDArray[Any]:
    """Return the same values with the last axis, the channels, before the rows in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(values, -1, -3)), -3, -1)


def _is_planar(values: NDArray[Any]) -> bool:
    return bool(np.moveaxis(values, -1, -3).flags.c_contiguous)


@pytest.fixture
def rgb() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)


def _options(monkeypatch: pytest.MonkeyPatch, staged: bool, planes: str = "z") -> dict[str, Any]:
    if staged:
        monkeypatch.setattr(StainJob, "is_batched", True)
    return {"config": StainConfig(patch_px=64, z_chunk=4, planes=planes), "intensity": LEVELS}


@STAGED
def test_the_writer_stores_the_memory_of_the_stainer_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, staged: bool
) -> None:
    options, taken, stored = _options(monkeypatch, staged), {}, {}
    write, store = OmeZarrWriter.write, ShardLayout.write

    def taking(self: OmeZarrWriter, z0: int, values: NDArray[Any]) -> None:
        taken[z0] = values
        write(self, z0, values)

    def storing(self: ShardLayout, path: Path, values: NDArray[Any]) -> str:
        stored[path.relative_to(tmp_path / "out.zarr").as_posix()] = values
        return store(self, path, values)

    monkeypatch.setattr(OmeZarrWriter, "write", taking)
    monkeypatch.setattr(ShardLayout, "write", storing)
    volume = Volume.from_array(grey_values(SHAPE), voxel_um=5.0, name="array")
    stain_volume(toy_model(tmp_path / "model", CHANNEL), volume, tmp_path / "out.zarr", **options)
    assert {z0: values.shape for z0, values in taken.items()} == {0: (4, 50, 41, 3), 4: (3, 50, 41, 3)}
    for z0, values in taken.items():
        assert _is_planar(values)
        shard = stored[f"0/c/0/{z0 // 4}/0/0"]
        assert shard.shape == (3, len(values), 50, 41)
        assert np.shares_memory(shard, values)
        assert all(plane.flags.c_contiguous for channel in shard for plane in channel)


def test_a_device_copies_planar_colours_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, copied, download = _options(monkeypatch, staged=True), [], Transfer.download

    def copying(self: Transfer, values: torch.Tensor, target: torch.Tensor) -> Any:
        if values.dtype == torch.uint8:
            copied.append([each.movedim(-1, 1).is_contiguous() for each in (values, target)])
        return download(self, values, target)

    monkeypatch.setattr(Transfer, "download", copying)
    volume = Volume.from_array(grey_values(SHAPE), voxel_um=5.0, name="array")
    stain_volume(toy_model(tmp_path / "model", CHANNEL), volume, tmp_path / "out.zarr", **options)
    assert len(copied) >= 2
    assert all(all(each) for each in copied)


def test_planar_bytes_are_the_same_bytes() -> None:
    drawn = torch.rand((2, 3, 9, 7), generator=torch.Generator().manual_seed(1)) * 255
    for colours in (drawn, drawn.to(memory_format=torch.channels_last)):
        plain, planar = to_bytes(colours)[0], to_bytes(colours, planar=True)[0]
        assert torch.equal(plain, planar)
        assert plain.is_contiguous()
        assert planar.movedim(-1, 1).is_contiguous()


def test_a_planar_stainer_stains_the_same_colours(tmp_path: Path) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL))
    values, positions = grey_values((2, 40, 44)), [FIRST_SLICE, FIRST_SLICE.moved(1)]
    plain, planar = (
        SliceStainer(translator, StainConfig().for_model(32, True), LEVELS, planar=planar) for planar in (False, True)
    )
    expected, stained = (each.begin(each.upload(values), positions).result() for each in (plain, planar))
    np.testing.assert_array_equal(stained, expected)
    assert (expected.flags.c_contiguous, _is_planar(stained)) == (True, True)


@STAGED
@pytest.mark.parametrize("planes", ["z", "x", "zyx"])
def test_a_file_has_the_bytes_of_the_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planes: str, staged: bool
) -> None:
    options, model = _options(monkeypatch, staged, planes), toy_model(tmp_path / "model", CHANNEL)
    volume = Volume.from_array(grey_values(SHAPE), voxel_um=5.0, name="array")
    stain_volume(model, volume, tmp_path / "out.zarr", **options)
    array = stain_volume(model, volume, **options)
    assert array.flags.c_contiguous
    writer = create_stained(tmp_path / "array.zarr", SHAPE, (5.0, 5.0, 5.0), z_chunk=4, provenance={})
    for z0, z1 in writer.pending():
        writer.write(z0, array[z0:z1])
    writer.finish()
    sums = [(tmp_path / name / "0" / "SHA256SUMS").read_text() for name in ("out.zarr", "array.zarr")]
    assert sums[0] == sums[1]


def test_a_single_slice_is_an_array_in_c_order(tmp_path: Path) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL))
    assert stain_slice(translator, grey_values((40, 44))).flags.c_contiguous


@pytest.mark.parametrize("to", ["rgb-tiff", "rgba-tiff", "ome-zarr-0.4", "vti", "nrrd"])
def test_every_export_of_planar_colours_is_the_same(tmp_path: Path, rgb: NDArray[np.uint8], to: str) -> None:
    name = f"out.{to}" if to in ("vti", "nrrd") else "out"
    for folder, values in (("plain", rgb), ("planar", _planar(rgb))):
        (tmp_path / folder).mkdir()
        export((values, 5.0), tmp_path / folder / name, to)
    assert contents(tmp_path / "plain") == contents(tmp_path / "planar")


def test_every_image_of_planar_colours_is_the_same(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    for folder, values in (("plain", rgb), ("planar", _planar(rgb))):
        write_stack(tmp_path / folder, values, voxel_um=5.0)
        write_image(tmp_path / folder / "one.png", values[0])
        write_image(tmp_path / folder / "one.tif", values[0], pixel_um=5.0)
        Scratch(tmp_path / folder / "axis", rgb.shape, np.uint8, 4, {}).write(0, values[:4])
    plain, planar = contents(tmp_path / "plain"), contents(tmp_path / "planar")
    assert plain == planar
    assert len(plain) > len(rgb) + 3
