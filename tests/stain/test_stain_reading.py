"""How often the input is read: once for staining, and some slices before it."""

from collections import Counter

import pytest

from tests.support.toys import LEVELS, grey_values, toy_model
from tomostain.io import Volume, write_stack
from tomostain.io.ome_zarr.writer import OmeZarrWriter
from tomostain.stain import StainConfig, StainJob, stain_volume

SHAPE = (40, 36, 41)
FINGERPRINT = {0, 20, 39}
CHECK, ESTIMATE = 8, 12


@pytest.fixture
def slices_read(monkeypatch) -> Counter[int]:
    """Return how often each slice is read."""
    slices: Counter[int] = Counter()
    read = Volume.read

    def counting(self, start, stop):
        slices.update(range(start, stop))
        return read(self, start, stop)

    monkeypatch.setattr(Volume, "read", counting)
    return slices


@pytest.mark.parametrize("is_batched", [False, True])
def test_the_input_is_read_once_for_staining(tmp_path, monkeypatch, slices_read, is_batched):
    write_stack(tmp_path / "volume", grey_values(SHAPE), voxel_um=5.0)
    model = toy_model(tmp_path / "model")
    monkeypatch.setattr(StainJob, "is_batched", is_batched)
    before: list[Counter[int]] = []
    init = OmeZarrWriter.__init__

    def remembering(self, *arguments):
        before.append(slices_read.copy())
        init(self, *arguments)

    monkeypatch.setattr(OmeZarrWriter, "__init__", remembering)
    config = StainConfig(patch_px=32, stride_px=16, z_chunk=8)
    stain_volume(model, tmp_path / "volume", tmp_path / "a.ome.zarr", config=config, intensity=LEVELS)
    assert slices_read - before[0] == Counter(range(SHAPE[0]))
    known = sum(before[0].values())
    assert set(before[0]) >= FINGERPRINT
    assert known == len(FINGERPRINT) + CHECK
    slices_read.clear()
    stain_volume(model, tmp_path / "volume", tmp_path / "b.ome.zarr", config=config)
    assert sum(slices_read.values()) == SHAPE[0] + len(FINGERPRINT) + CHECK + ESTIMATE


def test_a_complete_volume_is_not_read_for_staining_again(tmp_path, slices_read):
    write_stack(tmp_path / "volume", grey_values(SHAPE), voxel_um=5.0)
    model, config = toy_model(tmp_path / "model"), StainConfig(patch_px=32, stride_px=16, z_chunk=8)
    for _ in range(2):
        slices_read.clear()
        stain_volume(model, tmp_path / "volume", tmp_path / "a.ome.zarr", config=config, intensity=LEVELS)
    assert sum(slices_read.values()) == len(FINGERPRINT) + CHECK
