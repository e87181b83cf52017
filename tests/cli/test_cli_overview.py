"""`tomostain` without arguments: the pipeline, what the folder holds of it, the next command."""

import os
import shlex
import subprocess
import sys

import pytest
import yaml

from tomostain.cli.main import run
from tomostain.cli.overview import MAX_BYTES, look_at, overview


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def a_table(folder):
    write(folder / "specimens.csv", "specimen,volume,slide\na,a/volume,a/slide.tif\nb,b/volume,b/slide.tif\n")


def a_dataset(folder, pairs=12, test=("p1", "p2")):
    records = [{"id": f"p{n}", "weeks": 8} for n in range(pairs)]
    values = {"voxel_um": 20.0, "pairs": records, "folds": [["p3"], ["p4"]], "test": list(test)}
    write(folder / "dataset.yaml", yaml.safe_dump(values))


def a_run(folder, finished=True):
    write(folder / "run.yaml", "fold: 0\n")
    write(folder / "metrics.csv", "step,epoch,G\n10,0,1.0\n900,3,0.5\n")
    if finished:
        write(folder / "model/model.yaml", "recipe: lean\nsteps: 900\n")


def next_line(folder):
    return next(line for line in overview(folder).splitlines() if "Next: " in line).split("Next: ")[1]


def test_a_run_has_the_steps_of_its_model(tmp_path):
    """Only every tenth step has a row in `metrics.csv`."""
    a_run(tmp_path / "run")
    write(tmp_path / "run/model/model.yaml", "recipe: lean\nsteps: 906\n")
    assert "run: run/ with 906 steps" in overview(tmp_path)


def test_an_empty_folder_leads_to_the_demo(tmp_path):
    text = overview(tmp_path)
    assert "contains no files of the pipeline yet" in text
    assert next_line(tmp_path) == "tomostain demo"
    assert "tomostain prepare specimens.csv dataset" in text


def test_each_stage_is_named_with_the_command_that_follows(tmp_path):
    a_table(tmp_path)
    assert "table: specimens.csv with 2 specimens" in overview(tmp_path)
    assert next_line(tmp_path) == "tomostain prepare specimens.csv dataset"
    write(tmp_path / "dataset-registration/a/pair.yaml")
    assert "pair: dataset-registration/ with 1 registered pair" in overview(tmp_path)
    a_dataset(tmp_path / "dataset")
    assert "dataset: dataset/ with 12 pairs (2 for testing)" in overview(tmp_path)
    assert next_line(tmp_path) == "tomostain train dataset run"
    a_run(tmp_path / "run", finished=False)
    assert "unfinished run: run/ with 900 steps" in overview(tmp_path)
    assert next_line(tmp_path) == "tomostain train dataset run --resume"
    a_run(tmp_path / "run")
    assert next_line(tmp_path) == "tomostain evaluate run dataset evaluation"
    write(tmp_path / "evaluation/evaluate.yaml")
    assert next_line(tmp_path) == "tomostain stain run/model VOLUME stained.ome.zarr"
    write(tmp_path / "stained.ome.zarr/zarr.json", '{"attributes": {"tomostain": {}}}')
    write(tmp_path / "stained.ome.zarr/.tomostain-progress/lock")
    assert "stained volume: stained.ome.zarr not finished" in overview(tmp_path)
    assert next_line(tmp_path) == "tomostain stain run/model VOLUME stained.ome.zarr"
    (tmp_path / "stained.ome.zarr/.tomostain-progress/lock").unlink()
    (tmp_path / "stained.ome.zarr/.tomostain-progress").rmdir()
    assert next_line(tmp_path) == "tomostain view stained.ome.zarr"


def test_the_newest_run_is_continued_and_names_are_quoted(tmp_path):
    a_dataset(tmp_path / "my data")
    for number, name in enumerate(("run-2", "run-10", "old run")):
        a_run(tmp_path / name)
        os.utime(tmp_path / name, (number, number) if name == "old run" else (100 + number, 100 + number))
    assert shlex.split(next_line(tmp_path)) == ["tomostain", "evaluate", "run-10", "my data", "evaluation"]


def test_a_dataset_that_a_person_indented_is_counted(tmp_path):
    write(tmp_path / "d/dataset.yaml", "pairs:\n  - id: a\n    notes:\n      - one\n  - id: b\ntest: [b]\n")
    assert "dataset: d/ with 2 pairs" in overview(tmp_path)
    write(tmp_path / "m/model.yaml", "recipe: lean-cpu\nsteps: 9\n")
    assert "model: m/ (lean-cpu)" in overview(tmp_path)


def test_many_items_are_counted(tmp_path):
    for number in range(7):
        write(tmp_path / f"pair-{number}" / "pair.yaml")
    assert "pair: pair-0/; pair-1/; pair-2/; and 4 more" in overview(tmp_path)


def test_the_folder_itself_may_be_a_result(tmp_path):
    a_dataset(tmp_path, pairs=1, test=())
    assert "dataset: . with 1 pair" in overview(tmp_path)
    assert next_line(tmp_path) == "tomostain train . ../run"
    write(tmp_path / "demo" / "demo.yaml")
    assert "demo: demo/ not finished" in overview(tmp_path)


def test_nothing_is_proposed_inside_a_run(tmp_path):
    a_run(tmp_path)
    assert next_line(tmp_path) == "tomostain evaluate . DATASET ../evaluation"
    write(tmp_path / "evaluation/evaluate.yaml")
    assert next_line(tmp_path) == "tomostain stain ./model VOLUME ../stained.ome.zarr"


def test_the_dataset_that_a_run_records_is_evaluated(tmp_path):
    a_dataset(tmp_path / "elsewhere" / "my data")
    a_run(tmp_path / "here" / "run")
    write(tmp_path / "here/run/run.yaml", yaml.safe_dump({"dataset": str(tmp_path / "elsewhere/my data"), "fold": 0}))
    line = next_line(tmp_path / "here")
    assert shlex.split(line) == ["tomostain", "evaluate", "run", str(tmp_path / "elsewhere/my data"), "evaluation"]
    write(tmp_path / "here/run/run.yaml", "dataset: /no/such/dataset\nfold: 0\n")
    assert next_line(tmp_path / "here") == "tomostain evaluate run DATASET evaluation"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_a_table_of_a_spreadsheet_is_found(tmp_path, encoding):
    (tmp_path / "table.csv").write_text("specimen; volume; slide\nä;a.h5;a.svs\n;;\n", encoding=encoding)
    assert [(item.kind, item.note) for item in look_at(tmp_path).items] == [("table", "with 1 specimen")]


def test_separators_in_quotes_of_a_table_are_not_counted(tmp_path):
    (tmp_path / "a.csv").write_text('specimen,volume,slide,"notes; a; b; c; d"\nrat,v,s,\n', encoding="utf-8")
    assert [(item.kind, item.note) for item in look_at(tmp_path).items] == [("table", "with 1 specimen")]


def test_unusual_folders_cause_no_error(tmp_path):
    write(tmp_path / "broken/dataset.yaml", "pairs: [unclosed")
    write(tmp_path / "list/dataset.yaml", "- 1\n- 2\n")
    write(tmp_path / "deep/dataset.yaml", "[" * 5000)
    write(tmp_path / "run/run.yaml")
    write(tmp_path / "run/metrics.csv", "step\nnot a number\n")
    write(tmp_path / "model/model.yaml", "\x00\x01")
    (tmp_path / "other.csv").write_bytes(b"\xff\xfe\x00" + os.urandom(200))
    (tmp_path / "quotes.csv").write_text('"' + "x" * 200_000, encoding="utf-8")
    (tmp_path / "large.csv").write_text("specimen,volume,slide\n" + "x" * MAX_BYTES, encoding="utf-8")
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "x²3.csv").write_text("specimen;volume;slide\n", encoding="utf-8")
    kinds = {item.path: item.kind for item in look_at(tmp_path).items}
    assert kinds == {
        "broken/": "dataset",
        "list/": "dataset",
        "deep/": "dataset",
        "run/": "unfinished run",
        "model/": "model",
        "x²3.csv": "table",  # with semicolons, as Excel writes it
    }
    assert "dataset: " in overview(tmp_path)
    assert look_at(tmp_path / "missing").items == []
    assert look_at(tmp_path / "other.csv").items == []


@pytest.mark.parametrize("arguments", [[], ["-v"], ["--quiet"]])
def test_the_command_prints_it_and_succeeds(arguments, tmp_path, monkeypatch, capsys):
    a_dataset(tmp_path / "dataset")
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "1  tomostain prepare specimens.csv dataset" in out
    assert "Next: tomostain train dataset run" in out


def test_it_imports_no_stage_and_no_numerics(tmp_path):
    a_dataset(tmp_path / "dataset")
    code = "import sys; from tomostain.cli.main import run; run([]); print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Next: tomostain train dataset run" in done.stdout
    assert not {"torch", "numpy", "scipy", "zarr", "matplotlib"} & {name.split(".")[0] for name in done.stderr.split()}


def test_unfinished_and_grey_volumes_are_not_viewed(tmp_path):
    a_run(tmp_path / "run")
    write(tmp_path / "a.ome.zarr" / "zarr.json", '{"tomostain": {"shape": [4, 8, 8]}}')
    (tmp_path / "a.ome.zarr" / ".tomostain-progress").mkdir()
    assert next_line(tmp_path).endswith("VOLUME a.ome.zarr")
    write(tmp_path / "ct.ome.zarr" / "zarr.json", '{"tomostain": {"shape": [4, 8, 8], "channels": 1}}')
    assert "ct.ome.zarr" not in overview(tmp_path)
    write(tmp_path / "b.ome.zarr" / "zarr.json", '{"tomostain": {"shape": [4, 8, 8]}}')
    assert "view b.ome.zarr" in next_line(tmp_path)


def test_measures_are_named(tmp_path):
    write(tmp_path / "measures/measure.yaml", "{}\n")
    assert "measures: measures/ not finished" in overview(tmp_path)
    write(tmp_path / "measures/measures.json", "{}\n")
    write(tmp_path / "comparison/study.yaml", "{}\n")
    write(tmp_path / "comparison/groups.csv", "measure\n")
    assert "measures: comparison/ of groups; measures/\n" in overview(tmp_path)
    assert "6  tomostain measure OUT.ome.zarr measures" in overview(tmp_path)
