"""Fixtures shared by the tests of the verbs: a small volume, and a run that must fail with one line."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from tomostain.cli.main import run
from tomostain.io import write_stack


@pytest.fixture
def volume(tmp_path) -> Path:
    folder = tmp_path / "volume"
    slices = np.random.default_rng(0).integers(0, 60000, (4, 12, 10)).astype(np.uint16)
    write_stack(folder, slices, voxel_um=(20.0, 20.0, 20.0))
    return folder


@pytest.fixture
def own_signals():
    """Put the signal handlers back that the program `tomostain` replaces, for a test that runs it in this process."""
    handlers, hook = (
        {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        sys.unraisablehook,
    )
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    sys.unraisablehook = hook


@pytest.fixture
def fails(capsys):
    """Run, expect exit code 2 and one line on stderr without a traceback; return the line."""

    def run_and_fail(*arguments: object) -> str:
        capsys.readouterr()
        assert run([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr().err
        assert captured.count("\n") == 1, captured
        assert captured.startswith("tomostain: ")
        assert "Traceback" not in captured
        return captured

    return run_and_fail
