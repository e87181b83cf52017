"""Figures of a volume in a folder: all or none, and other files stay."""

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.view import folder as folder_module
from tomostain.view.folder import view_path

GREY = np.random.default_rng(0).integers(0, 60_000, (6, 8, 9), dtype=np.uint16)


def test_a_run_that_stops_between_two_figures_leaves_no_folder(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "figures"
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "write_image", stop)
        with pytest.raises(KeyboardInterrupt):
            view_path(GREY, out, voxel_um=5)
    assert not out.exists()
    assert view_path(GREY, out, voxel_um=5) == [out / "planes.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


def test_existing_figures_need_overwrite_and_other_files_stay(tmp_path):
    view_path(GREY, tmp_path, voxel_um=5)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        view_path(GREY, tmp_path, voxel_um=5)
    before = (tmp_path / "planes.png").read_bytes()
    view_path(GREY[::-1], tmp_path, voxel_um=5, overwrite=True)
    assert (tmp_path / "planes.png").read_bytes() != before
    assert (tmp_path / "notes.txt").read_text() == "mine"
