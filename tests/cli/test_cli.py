"""The command line as a whole: help, one-line errors with exit codes, no overwriting without a request."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from tomostain.cli.main import main, run
from tomostain.cli.verbs import built_in_verbs
from tomostain.errors import InputError, InterruptedRunError


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
        "resample",
        "stain",
        "view",
        "export",
        "section",
        "check",
        "doctor",
    ):
        assert f"  {verb} " in done.stdout
    assert run(["--version"]) == 0


@pytest.mark.parametrize("verb", built_in_verbs())
def test_every_verb_teaches_by_example(verb, capsys):
    assert run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage:" in text
    if verb not in ("doctor", "recipes"):
        assert f"  tomostain {verb} " in text.split("Examples:")[1]


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
    tifffile.imwrite(tmp_path / "slide.tif", np.zeros((3, 4), np.uint16))  # no slide: the test does not need the search
    run([verb, *map(str, [*before, volume, *others[verb]])])
    output = capsys.readouterr().out
    assert "slice_0000.tif to slice_0003.tif; voxel size from slice_0000.tif" in output


def test_unknown_options_and_verbs_give_a_one_line_error(fails):
    assert "--sed" in fails("phantom", "out", "--sed", "3")
    assert "stian" in fails("stian")
    assert "material" in fails("phantom", "out", "--material", "Mg-10")


def test_existing_output_is_preserved(tmp_path, fails):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    assert "--overwrite" in fails("phantom", out, "--size", 16)
    assert "exists and is not a demo" in fails("demo", out)
    assert (out / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "big.zarr"), 2, "big.zarr: the disk is full"),
        (InterruptedRunError("run: stopped at step 7; set `resume=True`"), 130, "resume"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again"),
        (MemoryError("8 GB"), 2, "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.\nstack"),
            2,
            "not enough memory",
        ),
        (ZeroDivisionError("oops"), 1, "internal error: ZeroDivisionError: oops"),
        (InputError("scan.h5: empty"), 2, "scan.h5: empty"),
    ],
)
def test_errors_become_exit_codes(monkeypatch, capsys, error, code, words):
    def raising(*args, **kwargs):
        raise error

    monkeypatch.setattr("tomostain.installation.platform.python_version", raising)
    assert run(["doctor"]) == code
    line = capsys.readouterr().err
    assert words in line
    assert line.count("\n") == 1


def test_debug_shows_the_traceback(tmp_path, capsys):
    assert run(["check", str(tmp_path / "nowhere"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_do_not_spin_unless_the_user_sets_it(monkeypatch, own_signals, variables, spins):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that it is restored afterwards
    monkeypatch.delenv("GOMP_SPINCOUNT")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert os.environ.get("GOMP_SPINCOUNT") == spins
