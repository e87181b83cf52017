"""The command line: help that teaches, one-line errors with exit code 2, nothing overwritten unasked."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import yaml

from tomostain.cli.main import app, main, run
from tomostain.errors import InputError, InterruptedRunError
from tomostain.io import write_stack

SHARED = Path(__file__).parents[2] / "../shared/data"
VERBS = [command.name or command.callback.__name__ for command in app.registered_commands]


@pytest.fixture
def volume(tmp_path) -> Path:
    folder = tmp_path / "volume"
    slices = np.random.default_rng(0).integers(0, 60000, (4, 12, 10)).astype(np.uint16)
    write_stack(folder, slices, voxel_um=(20.0, 20.0, 20.0))
    return folder


def fails(capsys, *arguments: object) -> str:
    """Run, expect exit code 2 and one line on stderr without a traceback; return the line."""
    assert run([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1, captured
    assert captured.startswith("tomostain: ")
    assert "Traceback" not in captured
    return captured


def test_version_and_help_are_quick_and_light():
    code = (
        "import sys, time; t = time.perf_counter()\n"
        "from tomostain.cli.main import run\n"
        "code = run(['--help'])\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in (
        "demo",
        "phantom",
        "prepare",
        "train",
        "evaluate",
        "compare",
        "stain",
        "view",
        "export",
        "section",
        "check",
        "doctor",
    ):
        assert f"  {verb} " in done.stdout
    assert run(["--version"]) == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches_by_example(verb, capsys):
    assert run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage:" in text
    if verb not in ("doctor", "recipes"):
        assert f"  tomostain {verb} " in text.split("Examples:")[1]


def test_check_says_what_a_volume_is(volume, capsys):
    assert run(["check", str(volume)]) == 0
    assert "volume, 4 x 12 x 10 voxels of 20 x 20 x 20 µm (z, y, x), uint16" in capsys.readouterr().out


def test_doctor_names_the_device(capsys):
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "device: " in out
    assert "torch " in out


def test_recipes_can_be_listed_and_shown(capsys):
    assert run(["recipes"]) == 0
    assert {"paired-cyclegan", "cyclegan", "cyclegan-inverted", "pix2pix"} <= set(capsys.readouterr().out.split())
    assert run(["recipes", "paired-cyclegan"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["batch"] == 4  # paper section 2.6.3


def test_missing_and_empty_folders(tmp_path, capsys):
    assert "nowhere: no such" in fails(capsys, "check", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty" in fails(capsys, "check", tmp_path / "empty")


@pytest.mark.parametrize("verb", ["check", "view", "stain", "register", "prepare"])
def test_verbs_that_read_a_volume_name_its_first_and_last_slice(verb, volume, tmp_path, capsys):
    others = {
        "check": [],
        "view": ["--out", tmp_path / "planes"],
        "stain": [tmp_path / "out.ome.zarr"],
        "register": [tmp_path / "slide.tif", tmp_path / "pair"],
        "prepare": [tmp_path / "dataset"],
    }
    before = []
    if verb == "prepare":
        table = tmp_path / "specimens.csv"
        table.write_text(f"specimen,volume,slide\na,{volume},{tmp_path / 'slide.tif'}\n")
        volume = table
    if verb == "stain":
        before = [tmp_path / "model"]
        (tmp_path / "model").mkdir()
    tifffile.imwrite(tmp_path / "slide.tif", np.zeros((3, 4), np.uint16))  # no slide: the search need not be run here
    run([verb, *map(str, [*before, volume, *others[verb]])])
    said = capsys.readouterr().out
    assert "slice_0000.tif to slice_0003.tif; voxel size from slice_0000.tif" in said


def test_a_gap_in_the_slice_numbers(volume, capsys):
    sorted(volume.iterdir())[2].unlink()
    assert "slice number 2 is missing" in fails(capsys, "check", volume)


def test_mixed_shapes(volume, capsys):
    tifffile.imwrite(sorted(volume.iterdir())[1], np.zeros((3, 3), np.uint16))
    assert "slice_0001.tif" in fails(capsys, "check", volume)


def test_a_truncated_tiff(volume, capsys):
    path = sorted(volume.iterdir())[2]
    path.write_bytes(path.read_bytes()[:40])
    assert "slice_0002.tif" in fails(capsys, "check", volume)


def test_a_volume_with_nan(tmp_path, capsys):
    data = np.ones((3, 8, 8), np.float32)
    data[1, 2, 3] = np.nan
    write_stack(tmp_path / "nan", data, voxel_um=(5.0, 5.0, 5.0))
    assert "NaN" in fails(capsys, "check", tmp_path / "nan")


def test_hdf5_without_a_volume(tmp_path, capsys):
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["image"] = np.zeros((4, 4))
    assert "flat.h5" in fails(capsys, "check", tmp_path / "flat.h5")


@pytest.mark.skipif(not (SHARED / "slides").is_dir(), reason="the shared real data are not here")
def test_real_files_that_are_not_what_they_seem(capsys):
    assert "broken.svs" in fails(capsys, "check", SHARED / "slides/broken.svs")
    assert "tooth.h5" in fails(capsys, "check", SHARED / "tooth/tooth.h5")


def test_unequal_pair_shapes(tmp_path, capsys):
    for name, shape in (("x", (40, 40)), ("y", (40, 41, 3))):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", np.full(shape, 7, np.uint8))
    line = fails(capsys, "prepare", "--aligned", tmp_path / "x", tmp_path / "y", tmp_path / "d", "--voxel-um", 5)
    assert "40" in line
    assert "41" in line
    assert not (tmp_path / "d").exists()


def test_wrong_number_of_paths(tmp_path, capsys):
    assert "expected SPECIMENS.csv DATASET" in fails(capsys, "prepare", tmp_path)
    assert "only with --aligned" in fails(capsys, "prepare", tmp_path, tmp_path / "d", "--halves")
    paths = (tmp_path / "x", tmp_path / "y", tmp_path / "d")
    assert "--ct-slices: only from volumes" in fails(capsys, "prepare", "--aligned", *paths, "--ct-slices", 3)


def test_unknown_recipe_key(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("base: paired-cyclegan-cpu\nname: mine\nepoch: 3\n")
    line = fails(capsys, "train", tmp_path / "dataset", tmp_path / "run", "--recipe", tmp_path / "mine.yaml")
    assert "epoch" in line
    assert "did you mean 'epochs'" in line


def test_unknown_options_and_verbs_are_one_line(capsys):
    assert "--sed" in fails(capsys, "phantom", "out", "--sed", "3")
    assert "stian" in fails(capsys, "stian")
    assert "material" in fails(capsys, "phantom", "out", "--material", "Mg-10")


def test_existing_output_is_kept(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    assert "--overwrite" in fails(capsys, "phantom", out, "--size", 16)
    assert "holds no demo" in fails(capsys, "demo", out)
    assert (out / "precious.txt").read_text() == "mine"


def test_a_model_with_a_wrong_checksum(tmp_path, volume, capsys):
    import torch

    from tomostain.io import ModelSpec, save_model

    spec = ModelSpec(generator={"name": "resnet"}, voxel_um=20.0, recipe="x", stain="x", tomostain_version="0")
    save_model(tmp_path / "model", spec, {"w": torch.zeros(1)})
    with (tmp_path / "model/model.yaml").open("a") as file:
        file.write("\n")
    line = fails(capsys, "stain", tmp_path / "model", volume, tmp_path / "stained.ome.zarr")
    assert "model.yaml" in line
    assert "SHA256SUMS" in line or "checksum" in line


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "big.zarr"), 2, "big.zarr: the disk is full"),
        (InterruptedRunError("run: stopped at step 7; go on with --resume"), 130, "--resume"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError("8 GB"), 2, "not enough memory"),
        (ZeroDivisionError("oops"), 1, "a fault of ours: ZeroDivisionError: oops"),
        (InputError("scan.h5: empty"), 2, "scan.h5: empty"),
    ],
)
def test_errors_become_exit_codes(monkeypatch, capsys, error, code, words):
    def raising(*args, **kwargs):
        raise error

    monkeypatch.setattr("tomostain.cli.inspect.platform.python_version", raising)
    assert run(["doctor"]) == code
    line = capsys.readouterr().err
    assert words in line
    assert line.count("\n") == 1


def test_debug_shows_the_traceback(tmp_path, capsys):
    assert run(["check", str(tmp_path / "nowhere"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_do_not_spin_unless_somebody_says_so(monkeypatch, given, spins):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that it is put back afterwards
    monkeypatch.delenv("GOMP_SPINCOUNT")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert os.environ.get("GOMP_SPINCOUNT") == spins
