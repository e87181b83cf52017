"""The end-to-end benchmark: the recorded cost of a step, and that no step runs twice."""

import json

import numpy as np
import pytest

from studies.volumes.endtoend import Steps, size_of
from tomostain.io import write_stack


def test_a_step_is_measured_and_not_taken_twice(tmp_path, capfd):
    write_stack(tmp_path / "volume", np.arange(4 * 8 * 8, dtype=np.uint16).reshape(4, 8, 8), voxel_um=5.0)
    Steps(tmp_path).run("look", ["check", tmp_path / "volume"], tmp_path / "volume")
    (line,) = (tmp_path / "steps.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert "4 x 8 x 8 voxels" in record["said"]
    assert 0 < record["cpu_s"] <= record["wall_s"] + 1
    assert 20 < record["peak_mb"] < 2000
    assert record["bytes"] == sum(file.stat().st_size for file in (tmp_path / "volume").iterdir()) > 4 * 8 * 8 * 2
    again = Steps(tmp_path)  # as another run of the benchmark, after the volume has gone
    again.run("look", ["check", tmp_path / "gone"])
    assert len(again.records) == 1
    row = again.table(4 * 8 * 8).splitlines()[-1].split(" | ")
    assert row[0] == "| look"
    assert float(row[-1].rstrip(" |")) == pytest.approx(record["bytes"] / 256, abs=0.01)


def test_a_step_that_fails_ends_the_benchmark_and_is_not_recorded(tmp_path, capfd):
    with pytest.raises(SystemExit, match="the command failed with 2"):
        Steps(tmp_path).run("look", ["check", tmp_path / "nowhere"])
    assert not (tmp_path / "steps.jsonl").exists()
    assert "no such file" in capfd.readouterr().err


def test_sizes_of_files_and_folders(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"12345")
    (tmp_path / "a" / "b" / "two").write_bytes(b"123")
    assert (size_of(tmp_path / "a"), size_of(tmp_path / "a" / "one")) == (8, 5)
