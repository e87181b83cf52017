"""Log messages: none by default, on stderr with -v, in a file with --log-file."""

import logging
import re
import subprocess
import sys

from tomostain.cli.main import run
from tomostain.devices import choose_device


def test_nothing_is_logged_by_default(volume, capsys):
    assert run(["check", str(volume)]) == 0
    # The progress of a verb is not a log.
    assert all(line.startswith("reading: ") for line in capsys.readouterr().err.splitlines())


def test_a_library_call_prints_no_log_message():
    code = "import logging, tomostain; logging.getLogger('tomostain.x').error('hidden')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_verbose_shows_version_and_command(volume, capsys):
    for arguments in (["-v", "check", str(volume)], ["check", str(volume), "--verbose"]):
        assert run(arguments) == 0
        lines = capsys.readouterr().err.splitlines()
        assert re.fullmatch(r"info: tomostain \S+: .*check .*", lines[0])
        assert "info: CPU threads: default of PyTorch" in lines


def test_the_log_file_has_time_stamps_and_the_error_and_is_appended_to(tmp_path, fails, volume):
    log = tmp_path / "run.log"
    fails("--log-file", log, "check", tmp_path / "nowhere")
    assert run(["--threads", "1", "--log-file", str(log), "check", str(volume)]) == 0
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|ERROR) \[\d+\] tomostain", line) for line in lines)
    assert sum("nowhere: no such file or folder (exit code 2)" in line for line in lines) == 1
    assert sum("CPU threads: 1" in line for line in lines) == 1


def test_a_log_file_that_cannot_be_written_is_reported_in_one_line(tmp_path, fails, volume):
    assert "no-folder" in fails("--log-file", tmp_path / "no-folder" / "run.log", "check", volume)


def test_handlers_are_removed_at_the_end(tmp_path, volume):
    logger = logging.getLogger("tomostain")
    before = list(logger.handlers), logger.level
    run(["-vv", "--log-file", str(tmp_path / "run.log"), "check", str(volume)])
    assert (list(logger.handlers), logger.level) == before


def test_the_device_is_logged(caplog):
    with caplog.at_level(logging.INFO, "tomostain"):
        choose_device("cpu")
    assert "device: cpu (device=cpu)" in caplog.text
