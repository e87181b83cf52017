"""Changes that make two inputs different, and changes that do not."""

import shutil
import subprocess
import sys

import numpy as np

from tomostain.io import open_slide, open_volume, write_image, write_stack
from tomostain.register.inputs import digest, fingerprint


def test_a_moved_study_is_the_same_and_another_file_or_size_is_not(tmp_path):
    rng = np.random.default_rng(0)
    write_stack(tmp_path / "a" / "v", rng.integers(0, 60000, (9, 20, 20)).astype(np.uint16), voxel_um=(5.0,) * 3)
    write_image(tmp_path / "a" / "s.png", rng.integers(0, 255, (30, 40, 3)).astype(np.uint8))
    shutil.copytree(tmp_path / "a", tmp_path / "b")

    def of(folder, pixel_um=2.0, voxel_um=None):
        volume = open_volume(tmp_path / folder / "v", voxel_um=voxel_um)
        return fingerprint(volume, open_slide(tmp_path / folder / "s.png", pixel_um=pixel_um))

    assert of("a") == of("b")
    assert of("a", pixel_um=2.1) != of("a")
    assert of("a", voxel_um=6.0) != of("a")
    write_image(tmp_path / "b" / "s.png", rng.integers(0, 255, (30, 40, 3)).astype(np.uint8), overwrite=True)
    assert of("a")["volume"] == of("b")["volume"]
    assert of("a")["slide"] != of("b")["slide"]


def test_both_ends_and_the_length_of_a_long_file_count(tmp_path):
    data = bytearray(5_000_000)
    calls = set()
    for name, change in (("a", None), ("first", 0), ("last", -1)):
        copy = bytearray(data)
        if change is not None:
            copy[change] = 1
        (tmp_path / name).write_bytes(copy)
        calls.add(digest(tmp_path / name))
    (tmp_path / "longer").write_bytes(bytes(data) + b"\0")
    assert len(calls | {digest(tmp_path / "longer")}) == 4


def test_the_facade_imports_torch_only_when_it_searches():
    code = (
        "import sys, tomostain.register as register\n"
        "register.RegisterConfig, register.Hint, register.Section\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'register_slide' in dir(register)\n"
        "register.register_slide\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
