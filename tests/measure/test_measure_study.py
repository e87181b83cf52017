"""The comparison of a study: tables in, tests and tables out."""

import math

import numpy as np
import pandas as pd
import pytest

from tomostain.errors import InputError
from tomostain.io.csv_files import csv_text, read_csv
from tomostain.measure.classes import TissueClass
from tomostain.measure.config import MeasureConfig, StudyConfig
from tomostain.measure.label_files import write_labels
from tomostain.measure.label_source import LabelArray
from tomostain.measure.measures import Definition, Measure
from tomostain.measure.result_files import begin_output, write_results
from tomostain.measure.rows import measure_rows
from tomostain.measure.run import measure_volume
from tomostain.measure.study import GROUP_TABLE, group_rows, measure_study

BIC = Definition("trial_bic", "BIC", "bone-implant contact", "%", 3, "trial-1", "")
BV = Definition("trial_bv", "BV/TV", "bone volume", "%", 3, "trial-1", "")
HEADER = "specimen,subject,implant,weeks,BIC (%),stiffness"


def direct(tmp_path, lines, header=HEADER):
    table = tmp_path / "study.csv"
    table.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return table


def lines(animals=7, effect=20.0, specimens=1):
    rng = np.random.default_rng(0)
    rows = []
    for group, material in enumerate(("Ti", "Mg-10Gd")):
        for animal in range(animals):
            base = 40 + effect * group + rng.normal(0, 3)
            for part in range(specimens):
                name = f"{material}-{animal}-{part}"
                rows.append(f"{name},rat{group}{animal},{material},8,{base + rng.normal():.3f},{rng.normal():.4f}")
    return rows


def test_groups_of_values_in_the_table(tmp_path):
    result = measure_study(direct(tmp_path, lines()), tmp_path / "out")
    assert result.by == ("implant",)  # all weeks are the same
    bic, stiffness = result.comparisons
    assert (bic.values.title, bic.values.unit, bic.values.region) == ("BIC", "%", "all")
    assert bic.result.test == "Welch's t test"
    assert bic.p_holm < 1e-4
    assert stiffness.p_holm == stiffness.result.p > 0.05
    assert bic.p_holm == pytest.approx(2 * bic.result.p)
    table = read_csv(tmp_path / "out" / "groups.csv")
    assert table.columns == GROUP_TABLE
    assert [row["comparison"] for row in table.rows[:2]] == ["all groups", "Ti − Mg-10Gd"]
    assert float(table.rows[1]["difference"]) == pytest.approx(-20, abs=5)
    assert float(table.rows[1]["difference_high"]) < 0
    assert table.rows[0]["animals"] == "7 + 7"
    assert "Each animal has one specimen" in table.rows[0]["reason"]
    values = read_csv(tmp_path / "out" / "values.csv").rows
    assert len(values) == 28
    assert float(values[0]["value"]) == bic.values.values[0]


def test_several_specimens_of_an_animal(tmp_path):
    result = measure_study(direct(tmp_path, lines(specimens=3)), tmp_path / "out")
    assert result.comparisons[0].result.test == "mixed model"
    assert read_csv(tmp_path / "out" / "groups.csv").rows[0]["specimens"] == "21 + 21"
    assert read_csv(tmp_path / "out" / "groups.csv").rows[0]["animals"] == "7 + 7"


def test_folders_of_measures(tmp_path):
    rows = []
    for number in range(8):
        group = "Ti" if number < 4 else "PEEK"
        out = begin_output(tmp_path / f"measure{number}")
        measures = [
            Measure(BIC, 50.0 + number),
            Measure(BV, math.nan if number == 2 else 30.0 + number % 3, region="0-100 µm"),
            Measure(BV, 30.0 + number % 2, region="100-250 µm"),
        ]
        tidy = measure_rows(measures, specimen=f"s{number}", source="both")
        tidy += measure_rows([Measure(BIC, 1.0 * number % 3)], specimen=f"s{number}", source="ct")
        tidy += measure_rows(measures[:1], specimen=f"s{number}", source="both", voxels="without refused")
        write_results(out, tidy, [BIC, BV])
        rows.append(f"s{number},rat{number},{group},measure{number},a remark")
    table = direct(tmp_path, rows, "specimen,subject,group,measures,note")
    result = measure_study(table, tmp_path / "out")
    names = [each.values.name for each in result.comparisons]
    assert names[0] == "bone-implant contact [%]"
    assert names[1] == "bone volume, 0-100 µm [%]"
    assert len(names) == 3
    assert result.comparisons[0].result.test == "Mann–Whitney"
    assert result.comparisons[0].result.p == pytest.approx(2 / 70)
    assert result.notes == ("bone volume, 0-100 µm [%]: 1 specimen(s) have no value and are left out.",)
    ct = measure_study(table, tmp_path / "ct", config=StudyConfig(source="ct"))
    assert len(ct.comparisons) == 1
    chosen = measure_study(table, tmp_path / "one", config=StudyConfig(measures=("trial_bic",)))
    assert chosen.comparisons[0].p_holm == chosen.comparisons[0].result.p
    with pytest.raises(InputError, match="has no measures of 'stain'"):
        measure_study(table, tmp_path / "none", config=StudyConfig(source="stain"))
    with pytest.raises(InputError, match="no specimen has the measure 'trial_bik'; did you mean 'trial_bic'"):
        measure_study(table, tmp_path / "none", config=StudyConfig(measures=("trial_bik",)))


@pytest.mark.parametrize(
    ("sources", "methods", "message"),
    [
        (("both", "ct"), ("1", "1"), "the source of the measures is 'both' of specimen 's0' and 'ct' of 's1'; state"),
        (("ct", "ct"), ("1", "2"), "the method of 'trial_bic' is 'trial-1' of specimen 's0' and 'trial-2' of 's1'"),
    ],
)
def test_specimens_that_were_measured_differently_are_refused(tmp_path, sources, methods, message):
    rows = []
    for number, (source, method) in enumerate(zip(sources, methods, strict=True)):
        definition = Definition("trial_bic", "BIC", "contact", "%", 3, f"trial-{method}", "")
        tidy = measure_rows([Measure(definition, 50.0)], specimen=f"s{number}", source=source)
        write_results(begin_output(tmp_path / f"m{number}"), tidy, [definition])
        rows.append(f"s{number},rat{number},g{number},m{number}")
    with pytest.raises(InputError, match=message):
        measure_study(direct(tmp_path, rows, "specimen,subject,group,measures"), tmp_path / "out")


def measured(tmp_path, *, configs=(None, None), gaps=(34.6, 34.6), classifiers=("both", "both"), sizes=(20.0, 20.0)):
    """Write two folders of measures with different settings, and return the lines of a table."""
    rows = []
    for k in range(2):
        out = begin_output(tmp_path / f"m{k}", configs[k] or MeasureConfig())
        contact = Measure(BIC, 50.0 + k, note=f"gap tolerance {gaps[k]:g} µm, depth 40 µm; all is seen")
        tidy = measure_rows([contact], specimen=f"s{k}", source="both")
        write_labels(out / "labels.ome.zarr", LabelArray(np.full((2, 3, 4), TissueClass.BONE, np.uint8), sizes[k]))
        write_results(out, tidy, [BIC], provenance={"classifier": classifiers[k]})
        rows.append(f"s{k},rat{k},g{k},m{k}")
    return rows


FOLDERS = "specimen,subject,group,measures"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gaps": (34.6, 100)}, "the gap tolerance is 34.6 µm of specimen 's0' and 100 µm of 's1'; measure all"),
        ({"configs": (None, MeasureConfig(shell_um=(0, 100)))}, "the list of shells is 0, 100, 200, 300, 500 µm of"),
        (
            {"configs": (None, MeasureConfig(surface="fitted", geometry="m2-screw"))},
            "the surface is 'labels' of specimen 's0' and 'fitted' of 's1'",
        ),
        ({"classifiers": ("both", "mine")}, "the tissue classifier is 'both' of specimen 's0' and 'mine' of 's1'"),
        ({"sizes": (20.0, 10.0)}, "the voxel size is 20, 20, 20 µm of specimen 's0' and 10, 10, 10 µm of 's1'"),
    ],
)
def test_specimens_with_other_settings_are_refused(tmp_path, settings, message):
    table = direct(tmp_path, measured(tmp_path, **settings), FOLDERS)
    with pytest.raises(InputError, match=message):
        measure_study(table, tmp_path / "out")


def test_the_depth_of_the_options_is_compared_where_no_note_states_it(tmp_path):
    rows = measured(tmp_path, configs=(MeasureConfig(depth_um=40), MeasureConfig(depth_um=0)))
    for folder in ("m0", "m1"):
        for name in ("measures.csv", "measures.json"):
            file = tmp_path / folder / name
            file.write_text(file.read_text(encoding="utf-8").replace("gap tolerance", "gap"), encoding="utf-8")
    with pytest.raises(InputError, match="the depth of the contact is 40 µm of specimen 's0' and 0 µm of 's1'"):
        measure_study(direct(tmp_path, rows, FOLDERS), tmp_path / "out")


def test_settings_that_change_no_value_may_differ(tmp_path):
    configs = MeasureConfig(gap_um=34.6, weeks=8, members=3, implant="Ti"), MeasureConfig(maps=False, weeks=4)
    rows = measured(tmp_path, configs=configs, sizes=(20.0, 20.01))
    result = measure_study(direct(tmp_path, rows, FOLDERS), tmp_path / "out")
    assert result.comparisons[0].values.values == (50.0, 51.0)


def test_a_measure_in_a_folder_and_in_a_column_is_refused(tmp_path):
    rows = [f"{row},{40 + k}" for k, row in enumerate(measured(tmp_path))]
    with pytest.raises(InputError, match=r"line 2, specimen 's0': has the measure 'trial_bic' twice"):
        measure_study(direct(tmp_path, rows, f"{FOLDERS},trial_bic"), tmp_path / "out")
    result = measure_study(direct(tmp_path, rows, f"{FOLDERS},histology (%)"), tmp_path / "out")
    assert [each.values.measure for each in result.comparisons] == ["trial_bic", "histology (%)"]


def test_a_folder_with_two_specimens_is_refused(tmp_path):
    rows = measured(tmp_path)
    tidy = [row for name in ("left", "right") for row in measure_rows([Measure(BIC, 1.0)], specimen=name, source="ct")]
    write_results(begin_output(tmp_path / "m0", overwrite=True), tidy, [BIC])
    with pytest.raises(InputError, match="specimen 's0': has the measure 'trial_bic' twice"):
        measure_study(direct(tmp_path, rows, FOLDERS), tmp_path / "out")


def test_columns_of_groups_can_be_stated(tmp_path):
    table = direct(tmp_path, lines(), HEADER.replace("implant", "alloy"))
    with pytest.raises(InputError, match="all specimens are in the group '8 weeks'"):
        measure_study(table, tmp_path / "out", config=StudyConfig(by=("weeks",)))
    result = measure_study(table, tmp_path / "out", config=StudyConfig(by=("alloy",)))
    assert [each.group for each in result.specimens][::7] == ["Ti", "Mg-10Gd"]
    with pytest.raises(InputError, match=r"has no column 'aloy' of groups; did you mean 'alloy'"):
        measure_study(table, tmp_path / "other", config=StudyConfig(by=("aloy",)))


def test_results_are_replaced_only_on_request(tmp_path):
    table = direct(tmp_path, lines())
    measure_study(table, tmp_path / "out")
    with pytest.raises(InputError, match="overwrite=True"):
        measure_study(table, tmp_path / "out")
    measure_study(table, tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "letter.txt").touch()
    with pytest.raises(InputError, match="is not a file of a study"):
        measure_study(table, tmp_path / "out", overwrite=True)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("name,subject,implant,BIC", ["a,b,Ti,4"], "has no column 'specimen'"),
        ("specimen,implant,BIC", ["a,Ti,4"], "has no column 'subject'; it names the animal"),
        ("specimen,subject,alloy,BIC", ["a,1,Ti,4"], "state the columns of the groups with `by`"),
        ("specimen,subject,implant", ["a,1,Ti", "b,2,Mg"], "neither a column 'measures'"),
        ("specimen,subject,implant,BIC", ["a,1,Ti,4", "b,2,Ti,5"], r"all specimens are in the group 'Ti' \(implant\)"),
        ("specimen,subject,implant,BIC", ["a,1,Ti,4", "a,2,Mg,5"], "the specimen 'a' occurs 2 times"),
        ("specimen,subject,implant,BIC", ["a,1,Ti,4", "b,2,Mg,inf"], "line 3, specimen 'b': BIC is 'inf'"),
        ("specimen,subject,implant,BIC", ["a,1,Ti,4", "b,2,Mg,nan"], "line 3, specimen 'b': BIC is 'nan'"),
        ("specimen,subject,implant,BIC", ["a,1,Ti,4", "b,2,Mg,high"], "BIC is 'high'; state a finite number"),
        ("specimen,subject,implant,BIC", ["a,1,Ti,4", "b,,Mg,5"], "line 3: 'subject' is empty"),
        ("specimen,subject,implant,BIC", ["a,1,Ti,4", "b,2,,5"], "line 3: 'implant' is empty"),
        ("specimen,subject,implant,BIC", ["a,1,Ti,4", "b,2,Mg,"], "no measure has values in two groups"),
        ("specimen,subject,implant,measures", ["a,1,Ti,x", "b,2,Mg,y"], r"line 2, specimen 'a': .*holds no measures"),
        ("specimen,subject,implant,measures", ["a,1,Ti,", "b,2,Mg,y"], "'measures' is empty"),
        ("specimen,subject,implant,BIC", [], "contains no specimens"),
        (
            "specimen,subject,implant,BIC",
            ["a,1,Ti,4", "b,2,Mg,5", "c,3,ti,6"],
            "line 4: 'implant' is 'ti', but 'Ti' in .*line 2; write one name",
        ),
        ("specimen,subject,implant,BIC", ["a,rat1,Ti,4", "b,Rat1,Mg,5"], "line 3: 'subject' is 'Rat1', but 'rat1' in"),
        ("specimen,subject,group,BIC", ["a,1,5,4", "b,2,10,5", "c,3,5.0,5"], "line 4: 'group' is '5.0', but '5' in"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, header, rows, message):
    with pytest.raises(InputError, match=message):
        measure_study(direct(tmp_path, rows, header), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weeks_are_compared_as_numbers(tmp_path):
    rows = [f"s{i},rat{i},Ti,{weeks},{i}" for i, weeks in enumerate(("8", "8.0", "08", "4", "4.0", "04"))]
    result = measure_study(direct(tmp_path, rows, "specimen,subject,implant,weeks,BIC"), tmp_path / "out")
    assert [each.group for each in result.specimens] == ["8 weeks"] * 3 + ["4 weeks"] * 3
    # Mann-Whitney of (0, 1, 2) and (3, 4, 5): 2 of the 20 orders are as extreme.
    assert result.comparisons[0].result.p == pytest.approx(0.1)
    rows = [f"s{i},rat{i},Ti,{weeks},{i}" for i, weeks in enumerate(("8", "8.0"))]
    with pytest.raises(InputError, match=r"all specimens are in the group 'Ti, 8 weeks'"):
        measure_study(direct(tmp_path, rows, "specimen,subject,implant,weeks,BIC"), tmp_path / "again")


def test_names_that_only_python_reads_as_numbers_are_names(tmp_path):
    names = ["1_1", "11", "2E1", "20", "A²", "A2"]
    rows = [f"s{i},{name},{'Mg' if i % 2 else 'Ti'},{i}" for i, name in enumerate(names)]
    result = measure_study(direct(tmp_path, rows, "specimen,subject,implant,BIC"), tmp_path / "out")
    assert [each.subject for each in result.specimens] == names
    rows = [f"s{i},rat{i},{weeks},{i}" for i, weeks in enumerate(["1_2", "12"])]
    result = measure_study(direct(tmp_path, rows, "specimen,subject,weeks,BIC"), tmp_path / "weeks")
    assert len({each.group for each in result.specimens}) == 2


def test_excel_tables_with_a_decimal_comma(tmp_path):
    table = direct(tmp_path, [line.replace(",", ";").replace(".", ",") for line in lines()], HEADER.replace(",", ";"))
    expected = measure_study(direct(tmp_path, lines()), tmp_path / "a").comparisons[0].result.p
    table = direct(tmp_path, [line.replace(",", ";").replace(".", ",") for line in lines()], HEADER.replace(",", ";"))
    assert measure_study(table, tmp_path / "b").comparisons[0].result.p == expected


def test_a_table_in_memory_gives_the_same_results_as_a_file(tmp_path):
    table = direct(tmp_path, lines(animals=4))
    written = measure_study(table, tmp_path / "out")
    frame = pd.read_csv(table)
    for memory in (measure_study(table), measure_study(frame), measure_study(frame.to_dict("records"))):
        assert memory.out is None
        assert memory.by == written.by
        assert csv_text(GROUP_TABLE, group_rows(memory)) == (tmp_path / "out" / "groups.csv").read_text("utf-8")
    stored = pd.read_csv(tmp_path / "out" / "groups.csv", keep_default_na=False, na_values={"p": ""})
    assert list(memory.groups["title"]) == list(stored["title"])
    assert memory.groups["p"].tolist() == pytest.approx(stored["p"].tolist())
    assert memory.values["value"].tolist() == pd.read_csv(tmp_path / "out" / "values.csv")["value"].tolist()
    with pytest.raises(InputError, match="row 2 of the table: 'subject' is empty"):
        measure_study(frame.assign(subject=["a", None, *"cdefgh"]))
    with pytest.raises(InputError, match=r"expected the path of a CSV file, a DataFrame .* found int"):
        measure_study(5)


def test_results_of_measurements_are_compared():
    def result(number, **changes):
        labels = np.zeros((12, 20, 20), np.uint8)
        labels[:, 6:12, 6:12] = TissueClass.METAL
        labels[:, 12 : 14 + number] = TissueClass.BONE
        config = MeasureConfig(maps=False, specimen=f"s{number}", **changes)
        return measure_volume(labels=labels, voxel_um=20, config=config)

    def row(number, measures):
        group = {"specimen": f"s{number}", "subject": f"r{number}", "implant": "Ti" if number < 2 else "PEEK"}
        return group | {"measures": measures}

    rows = [row(number, result(number)) for number in range(4)]
    study = measure_study(rows, config=StudyConfig(measures=("bic_surface",)))
    expected = [each["value"] for line in rows for each in line["measures"].rows if each["measure"] == "bic_surface"]
    assert study.values["value"].tolist() == expected
    with pytest.raises(InputError, match=r"the gap tolerance is 50 µm of specimen 's0' and .* of 's1'"):
        measure_study([row(0, result(0, gap_um=50.0)), *rows[1:]])
    with pytest.raises(InputError, match="the result has no measures of 'stained'"):
        measure_study(rows, config=StudyConfig(source="stained"))
