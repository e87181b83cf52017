"""Tables of measures: written, read back, and refused."""

import json
import math

import pytest

from tomostain import __version__
from tomostain.errors import InputError
from tomostain.io.csv_files import read_csv
from tomostain.measure.config import MeasureConfig
from tomostain.measure.measures import Definition, Measure
from tomostain.measure.result_files import begin_output, read_rows, write_results
from tomostain.measure.rows import COLUMNS, measure_rows

VOLUME = Definition("trial_volume", "T.V", "trial volume", "mm³", 3, "trial-volume-1", "How it is computed.")
SHARE = Definition("trial_share", "T/V", "trial, share", "%", 2, "trial-share-1", "How it is computed.")


@pytest.fixture
def rows():
    measures = [
        Measure(VOLUME, 0.1 + 0.2, sd_model=1 / 3),
        Measure(SHARE, 41.0, region="0-100 µm", note="partial field of view, 80 % is seen"),
        Measure(SHARE, math.nan, region="100-250 µm", note="no bone"),
    ]
    refused = measure_rows(measures[:1], specimen="rat, 5", source="stained", voxels="without refused")
    return measure_rows(measures, specimen="rat, 5", source="stained") + refused


def equal(first, second):
    return [{k: str(v) for k, v in row.items()} for row in first] == [{k: str(v) for k, v in r.items()} for r in second]


def test_csv_and_json_return_the_same_rows(tmp_path, rows):
    csv, json_file = write_results(tmp_path, rows, [VOLUME, SHARE], notes=["A note."], provenance={"input": "x"})
    for path in (tmp_path, csv, json_file):
        assert equal(read_rows(path), rows)
    assert read_rows(csv)[0]["value"] == 0.1 + 0.2  # the same bits
    assert math.isnan(read_rows(csv)[2]["value"])
    content = json.loads(json_file.read_text(encoding="utf-8"))
    assert content["definitions"]["trial_volume"]["text"] == "How it is computed."
    assert content["measures"][2]["value"] is None
    assert content["notes"] == ["A note."]
    assert content["tomostain"] == __version__


def test_csv_is_tidy(tmp_path, rows):
    table = read_csv(write_results(tmp_path, rows, [VOLUME, SHARE])[0])
    assert table.columns == COLUMNS
    assert {"method", "version", "unit"} < set(table.columns)
    assert [row["voxels"] for row in table.rows] == ["all"] * 3 + ["without refused"]
    assert table.rows[2]["value"] == ""


def test_results_are_replaced_only_on_request(tmp_path, rows):
    out = begin_output(tmp_path / "out", MeasureConfig(weeks=8))
    write_results(out, rows, [VOLUME, SHARE])
    with pytest.raises(InputError, match="exists"):
        write_results(out, rows[:1], [VOLUME])
    with pytest.raises(InputError, match="overwrite=True"):
        begin_output(out)
    assert len(read_rows(out)) == 4
    assert MeasureConfig.from_yaml(out / "measure.yaml").weeks == 8
    write_results(begin_output(out, overwrite=True), rows[:1], [VOLUME])
    assert len(read_rows(out)) == 1


def test_an_interrupted_measurement_is_started_again(tmp_path, rows):
    out = begin_output(tmp_path / "out")
    (out / "labels.ome.zarr" / "0").mkdir(parents=True)
    (out / "measures.csv").touch()
    assert [file.name for file in begin_output(out).iterdir()] == ["measure.yaml"]


def test_input_and_files_of_the_user_are_not_removed(tmp_path, rows):
    out = begin_output(tmp_path / "out")
    (out / "labels.ome.zarr").mkdir()
    with pytest.raises(InputError, match=r"labels\.ome\.zarr: lies in .*choose another name"):
        begin_output(out, sources=[out / "labels.ome.zarr"], overwrite=True)
    (out / "letter.txt").touch()
    with pytest.raises(InputError, match=r"letter\.txt: is not a file of a measurement"):
        begin_output(out, overwrite=True)
    assert len(list(out.iterdir())) == 3


def test_a_folder_of_something_else_is_not_used(tmp_path):
    (tmp_path / "letter.txt").touch()
    with pytest.raises(InputError, match="is not a measurement"):
        begin_output(tmp_path, overwrite=True)


def test_a_measure_twice_is_an_error(tmp_path, rows):
    with pytest.raises(InputError, match="'trial_volume' of the region 'all' of specimen 'rat, 5' occurs twice"):
        write_results(tmp_path, rows + rows[:1], [VOLUME, SHARE])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("region,", "place,"), "the column 'region' is missing"),
        (lambda text: text.replace("41.0", "many"), "value is 'many', not a number"),
        (lambda text: text.replace("without refused", "some"), "voxels is 'some'"),
        (lambda text: text.replace(",3,", ",4,"), "dimension is '4'"),
    ],
)
def test_changed_tables_are_refused(tmp_path, rows, change, message):
    csv, _ = write_results(tmp_path, rows, [VOLUME, SHARE])
    csv.write_text(change(csv.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_rows(csv)


def test_other_files_are_refused(tmp_path, rows):
    with pytest.raises(InputError, match=r"holds no measures\.csv"):
        read_rows(tmp_path)
    other = tmp_path / "other.json"
    other.write_text("[1]")
    with pytest.raises(InputError, match="is not a file of measures"):
        read_rows(other)
    _, json_file = write_results(tmp_path, rows, [])
    json_file.write_text(json_file.read_text(encoding="utf-8").replace('"format": 1', '"format": 9'), "utf-8")
    with pytest.raises(InputError, match="has the format 9"):
        read_rows(json_file)
