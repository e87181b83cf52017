"""Progress: the events that a listener receives, and the output of the terminal's listener without a terminal."""

import pytest

from tomostain.cli.progress import Bars
from tomostain.progress import silent, track


def test_track_needs_a_total_for_generators():
    with pytest.raises(TypeError, match="total="):
        list(track(iter("ab"), "x", silent))
    assert list(track(iter("ab"), "x", silent, total=2)) == ["a", "b"]


def test_lines_without_a_terminal(capsys):
    with Bars() as bars:
        for done in range(4):
            bars("growing", done, 3)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("growing: 3/3, ")


def test_a_line_states_a_long_time_left_in_minutes_and_none_at_the_beginning(capsys, monkeypatch):
    seconds = iter([0.0, 19.0, 60.0, 78.0])
    monkeypatch.setattr("tomostain.cli.progress.time.monotonic", lambda: next(seconds))
    with Bars() as bars:
        for done in (0, 2, 12, 50):
            bars("demo", done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["demo: 2/100, 19 s", "demo: 12/100, 60 s, about 7 min left", "demo: 50/100, 78 s, about 78 s left"]


def test_quiet_writes_nothing(capsys):
    with Bars(quiet=True) as bars:
        bars("growing", 3, 3)
    assert capsys.readouterr().err == ""


def test_an_end_is_printed_once_and_work_without_units_never(capsys):
    with Bars() as bars:
        for done, total in ((0, 2), (2, 2), (2, 2), (0, 3), (3, 3)):
            bars("staining", done, total)
        bars("pyramid", 0, 0)
    assert capsys.readouterr().err.splitlines() == ["staining: 2/2, 0 s", "staining: 3/3, 0 s"]
