"""A study: what is finished is kept, what fails is told and stops nothing."""

import csv

import yaml

from tomostain.prepare.registration import COLUMNS, Task, left_out, register_study


def test_a_bad_specimen_is_left_out_with_its_reason_and_a_finished_one_kept(tmp_path):
    done = tmp_path / "study" / "done"
    done.mkdir(parents=True)
    facts = {"confidence": 0.98, "detail": 0.7, "margin": 0.2, "warnings": ["check its pixel size"]}
    text = yaml.safe_dump({"registration": facts, "similarity": {"normalised_mutual_information": 1.2}})
    (done / "pair.yaml").write_text(text)
    tasks = [
        Task("done", tmp_path / "none", tmp_path / "none.png"),
        Task("bad", tmp_path / "no-volume", tmp_path / "no-slide.png"),
    ]
    heard = []
    progress = lambda label, n, total: heard.append((label, n, total))  # noqa: E731
    found = register_study(tasks, tmp_path / "study", jobs=1, progress=progress)
    assert found == {"done": done / "pair.yaml"}
    assert (done / "pair.yaml").read_text() == text
    assert "no-volume: no such file" in left_out(tmp_path / "study")["bad"]
    with (tmp_path / "study" / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [line["result"] for line in lines] == ["found", "left out"]
    assert lines[0]["confidence"] == "0.98"
    assert lines[0]["message"] == "check its pixel size"
    assert heard[-1] == ("registering", 2, 2)


def test_no_table_no_names(tmp_path):
    assert left_out(tmp_path) == {}
