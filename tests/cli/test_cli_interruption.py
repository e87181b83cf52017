"""Ctrl-C and SIGTERM: one line says what is left of a command and what to do next, and saying so is true."""

import errno
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import typer

from tomostain.cli.interruption import EndedBySignal, Output
from tomostain.cli.main import app, run
from tomostain.cli.verbs import REGISTRY, Verb, VerbCommand, built_in_verbs, load_verb
from tomostain.errors import InputError
from tomostain.io.ome_zarr.shard_file import ShardLayout

AGAIN = "run the same command again"


def says(verb, before=None, during=None, **values):
    """Return what a verb says after an interruption; `before` and `during` change files."""
    entry = load_verb(verb)
    if before:
        before()
    output = Output.of(entry.output, values)
    if during:
        during()
    return output.describe_interruption(values, continues=entry.continues(values))


@pytest.mark.parametrize(
    ("verb", "values"),
    [
        ("stain", {"volume": "scan", "out": "stained.ome.zarr", "overwrite": False}),
        ("resample", {"volume": "scan", "out": "small.ome.zarr", "overwrite": False}),
        ("prepare", {"inputs": ["specimens.csv", "dataset"], "aligned": False, "overwrite": False}),
        ("demo", {"out": "demo"}),
        ("train", {"run": "run", "resume": True, "overwrite": False}),
    ],
)
def test_verbs_that_continue_say_so(verb, values):
    assert says(verb, **values) == f"interrupted; {AGAIN} to continue"


def test_a_training_continues_with_the_option_resume():
    assert says("train", run="run", resume=False, overwrite=False) == f"interrupted; {AGAIN} with --resume to continue"


@pytest.mark.parametrize(
    ("verb", "name", "others"),
    [
        ("register", "pair", {}),
        ("export", "out", {}),
        ("evaluate", "out", {}),
        ("compare", "out", {}),
        ("phantom", "out", {}),
        ("section", "out", {}),
        ("models", "out", {}),
        ("view", "out", {}),
        ("stain", "out", {"volume": "slice.png"}),
        ("resample", "out", {}),
        ("measure", "paths", {}),
        ("prepare", "inputs", {"aligned": True}),
    ],
)
def test_verbs_that_begin_again_look_whether_they_wrote_anything(verb, name, others, tmp_path):
    out = tmp_path / "result"
    values = others | {name: [Path("input"), out] if name in ("paths", "inputs") else out, "overwrite": False}
    nothing = f"interrupted; nothing was written to {out}; {AGAIN}"
    assert says(verb, **values) == nothing
    assert says(verb, out.mkdir, **values) == nothing  # as it was
    os.utime(out, (1000, 1000))  # a change in the same tick of the clock would not be seen
    incomplete = f"interrupted; {out} may be incomplete; {AGAIN}"
    assert says(verb, None, (out / "file").touch, **values) == f"{incomplete} with --overwrite"
    os.utime(out, (1000, 1000))
    assert says(verb, None, (out / "other").touch, **values | {"overwrite": True}) == incomplete


@pytest.mark.parametrize("verb", built_in_verbs())
def test_the_named_parameters_exist(verb):
    entry = load_verb(verb)
    names = {each.name for each in typer.main.get_command(app).commands[verb].params}
    assert entry.output in names or verb in ("check", "doctor", "recipes", "train")  # no output, or --resume


@pytest.mark.parametrize("verb", ["check", "doctor", "recipes"])
def test_verbs_without_output_claim_nothing_about_files(verb):
    assert says(verb) == f"interrupted; {AGAIN}"


def test_a_dry_run_wrote_nothing():
    values = {"run": "run", "resume": False, "dry_run": True}
    assert says("train", **values) == f"interrupted; nothing was written; {AGAIN}"


def test_an_error_that_replaces_the_interrupt_is_no_internal_error(monkeypatch, capsys):
    """Imports of C extensions turn KeyboardInterrupt into other errors."""

    def interrupted():
        monkeypatch.setattr("tomostain.cli.interruption._raised", [signal.SIGTERM])
        raise AttributeError("partially initialized module 'torch'")

    monkeypatch.setattr("tomostain.installation.platform.python_version", interrupted)
    assert run(["doctor"]) == 143
    assert capsys.readouterr().err == f"tomostain: interrupted; {AGAIN}\n"


def test_other_errors_stay_what_they_are(monkeypatch):
    def fails() -> None:
        raise InputError("scan: empty")

    command = VerbCommand("fails", callback=fails)
    command.entry = Verb("fails", fails, order=1)
    with pytest.raises(InputError, match="scan: empty"):
        command.main([], standalone_mode=False)
    monkeypatch.setattr("tomostain.cli.interruption._raised", [signal.SIGINT])
    with pytest.raises(EndedBySignal) as ended:
        command.main([], standalone_mode=False)
    assert ended.value.code == 130
    assert "fails" not in REGISTRY


_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from tomostain.phantom import specimen
def endless(*_, **__):
    print("works", flush=True)
    while True:
        pass
specimen.{name} = endless
from tomostain.cli.main import main
main(["-q", "phantom", "specimen", "--size", "32"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_both_signals_give_the_same_line_and_leave_no_files(tmp_path, number, code):
    program = _PROGRAM.format(name="_images")
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "works\n"
        process.send_signal(number)
        err = process.communicate(timeout=600)[1]
    assert (process.returncode, err) == (code, f"tomostain: interrupted; nothing was written to specimen; {AGAIN}\n")
    assert list(tmp_path.iterdir()) == []


_START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
class Import:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            signal.raise_signal({number})
sys.meta_path.insert(0, Import())
sys.argv = ["tomostain", *{arguments}]
from tomostain.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tomostain.cli", ["--help"]),
        ("typer", ["--help"]),
        ("tomostain.cli.verbs", ["phantom", "p"]),
        ("tomostain.cli.phantom", ["phantom", "p"]),
    ],
)
def test_a_signal_during_the_first_imports_gives_one_line(tmp_path, name, arguments, number, code):
    program = _START.format(name=name, number=int(number), arguments=arguments)
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    line = f"tomostain: interrupted before it began; {AGAIN}\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", line)
    assert list(tmp_path.iterdir()) == []


_LOST = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from tomostain.phantom import specimen
class Finalised:
    def __del__(self):
        signal.raise_signal({number})
def slow_hook(frame, event, argument):
    if event == "return" and frame.f_code is sys.unraisablehook.__code__:
        time.sleep(0.2)
def endless(*_, **__):
    if {is_slow}:
        sys.setprofile(slow_hook)
    Finalised()
    while True:
        time.sleep(0.01)
specimen._images = endless
from tomostain.cli.main import main
main(["-q", "phantom", "specimen", "--size", "32"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_arrives_in_a_finaliser_is_not_lost(tmp_path, number, code, is_slow):
    """Python prints an exception that is raised in a finaliser, or in a callback of an import, and goes on.

    So it does with an exception in the hook that raises the signal again, where a slow machine still may be.
    """
    program = _LOST.format(number=int(number), is_slow=is_slow)
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert (ended.returncode, ended.stderr) == (
        code,
        f"tomostain: interrupted; nothing was written to specimen; {AGAIN}\n",
    )


_OTHER_HOOK = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from tomostain.errors import InputError
from tomostain.phantom import specimen
def other(unraisable):
    print(unraisable.exc_value)
class Finalised:
    def __del__(self):
        raise ValueError("in a finaliser")
def fail(*_, **__):
    Finalised()
    raise InputError("the end")
sys.unraisablehook, specimen._images = other, fail
from tomostain.cli.main import main
for _ in range(2):
    try:
        main(["-q", "phantom", "specimen", "--size", "32"])
    except SystemExit as end:
        print(end.code, sys.unraisablehook is other)
    Finalised()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_hook_of_other_software_for_lost_exceptions_stays(tmp_path):
    ended = subprocess.run([sys.executable, "-c", _OTHER_HOOK], cwd=tmp_path, capture_output=True, text=True)
    assert ended.stdout.splitlines() == ["in a finaliser", "2 True", "in a finaliser"] * 2
    assert ended.stderr == "tomostain: the end\n" * 2


def test_the_program_starts_where_signals_are_handled_first():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["tomostain"] == "tomostain.__main__:main"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["phantom"], 2), (["recipes"], 0)])
def test_a_signal_after_the_command_is_not_said_to_come_before_it(arguments, code):
    program = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tomostain.cli.main import main
try:
    main({arguments})
except SystemExit as end:
    assert end.code == {code}
signal.raise_signal(signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGTERM
    assert "before it began" not in ended.stderr


def test_a_program_that_calls_the_command_line_keeps_its_signal_handlers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run(["-q", "phantom", "specimen", "--size", "32", "--dry-run"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def _stop_at_once(self, label, done, total):
    """Ask to stop at the first report, as Ctrl-C does."""
    if done < total:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("out", "left"), [("slices", False), ("small.ome.zarr", True)])
def test_ctrl_c_in_resampling_says_what_is_left(tmp_path, volume, out, left, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["-q", "resample", str(volume), out, "--voxel-um", "2.5"]
    monkeypatch.setattr("tomostain.imaging.resampled_files.Z_CHUNK", 2)
    with monkeypatch.context() as patched:
        patched.setattr("tomostain.cli.progress.Bars.__call__", _stop_at_once)
        assert run(command) == 130
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert ("to continue" in line) == left
    assert ("nothing was written" in line) != left
    assert (tmp_path / out).exists() == left
    assert run(command) == 0


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_full_disk_in_resampling_says_which_command_continues(tmp_path, volume, overwrite, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["-q", "resample", str(volume), "small.ome.zarr", "--voxel-um", "2.5"]
    monkeypatch.setattr("tomostain.imaging.resampled_files.Z_CHUNK", 2)
    if overwrite:
        assert run(command) == 0
    real = ShardLayout.write

    def full(self, path, values):
        if path.parts[-3] != "0":  # the second z chunk
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, path, values)

    with monkeypatch.context() as patched:
        patched.setattr(ShardLayout, "write", full)
        assert run([*command, *overwrite]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "the disk is full at slice 2; make room and " in line
    assert line.endswith(f"{AGAIN}{' without --overwrite' if overwrite else ''} to continue\n")
    before = sorted((path, path.stat().st_mtime_ns) for path in Path("small.ome.zarr/0/c").rglob("*") if path.is_file())
    assert before
    time.sleep(0.01)
    assert run(command) == 0  # the command that the message names
    assert all(path.stat().st_mtime_ns == when for path, when in before)


@pytest.mark.parametrize("out", ["slices", "small.ome.zarr"])
def test_a_full_disk_before_anything_is_written_says_to_run_it_again(tmp_path, volume, out, monkeypatch, capsys):
    """Nothing could be continued, with or without `--overwrite`."""
    monkeypatch.chdir(tmp_path)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tomostain.imaging.resampled_files.write_stack", full)
    monkeypatch.setattr("tomostain.imaging.resampled_files.create_ome_zarr", full)
    assert run(["-q", "resample", str(volume), out, "--voxel-um", "2.5", "--overwrite"]) == 2
    expected = f"tomostain: {out}: the disk or your quota is full; make room and {AGAIN}\n"
    assert capsys.readouterr().err == expected


def test_an_interrupted_resampling_with_overwrite_continues_without_it(tmp_path, volume, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["-q", "resample", str(volume), "small.ome.zarr", "--voxel-um", "2.5"]
    assert run(command) == 0
    with monkeypatch.context() as patched:
        patched.setattr("tomostain.cli.progress.Bars.__call__", _stop_at_once)
        patched.setattr("tomostain.imaging.resampled_files.Z_CHUNK", 2)
        assert run([*command, "--overwrite"]) == 130
        assert "again without --overwrite to continue" in capsys.readouterr().err
    monkeypatch.setattr("tomostain.imaging.resampled_files.Z_CHUNK", 2)
    before = sorted((path, path.stat().st_mtime_ns) for path in Path("small.ome.zarr/0/c").rglob("*") if path.is_file())
    assert before
    time.sleep(0.01)
    assert run(command) == 0
    assert all(path.stat().st_mtime_ns == when for path, when in before)
