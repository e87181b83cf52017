"""Small CSV tables: written tables are read again; files of spreadsheets are read; errors name the file."""

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.io.csv_files import append_csv, csv_text, read_csv, write_csv

CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zs", "Zl", "Zp")), max_size=8)


@given(st.lists(st.tuples(CELLS.filter(bool), CELLS), max_size=4), st.sampled_from(["\n", "\r\n"]))
def test_rows_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, rows, line_end: str) -> None:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    cells = [{"first": first, "second": second} for first, second in rows]
    write_csv(path, ["first", "second"], cells, line_end=line_end)
    table = read_csv(path)
    assert table.columns == ("first", "second")
    assert table.rows == cells
    append_csv(path, table.columns, {"first": 1})
    assert read_csv(path).rows == [*cells, {"first": "1", "second": ""}]


@given(
    st.lists(st.tuples(CELLS.filter(bool), CELLS.filter(bool)), min_size=1, max_size=4), st.sampled_from(["\n", "\r\n"])
)
def test_the_bytes_are_those_of_the_csv_module_and_of_pandas(tmp_path_factory, rows, line_end: str) -> None:
    folder = tmp_path_factory.mktemp("csv")
    columns, cells = ["a", "b"], [{"a": first, "b": second} for first, second in rows]
    write_csv(folder / "ours.csv", columns, cells, line_end=line_end)
    with (folder / "module.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator=line_end)
        writer.writeheader()
        writer.writerows(cells)
    pd.DataFrame(cells, columns=columns).to_csv(folder / "pandas.csv", index=False, lineterminator=line_end)
    content = (folder / "ours.csv").read_bytes()
    assert content == (folder / "module.csv").read_bytes()
    assert content == (folder / "pandas.csv").read_bytes()


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ('id,"notes; a; b; c"', ("id", "notes; a; b; c")),
        ('id;"a, b, c, d"', ("id", "a, b, c, d")),
        ('id,"say ""x; y; z; a"""', ("id", 'say "x; y; z; a"')),
    ],
)
def test_separators_in_quotes_are_not_counted(tmp_path: Path, header: str, columns: tuple[str, ...]) -> None:
    (tmp_path / "table.csv").write_text(f"{header}\n")
    assert read_csv(tmp_path / "table.csv").columns == columns


def test_a_file_of_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes('\ufeffname, weeks \r\n\r\n"a\r\nb", 4\r\nc\r\n'.encode())
    table = read_csv(path)
    assert table.columns == ("name", "weeks")
    assert table.rows == [{"name": "a\r\nb", "weeks": "4"}, {"name": "c", "weeks": ""}]
    assert table.lines == [4, 5]


def test_an_empty_file_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    assert read_csv(tmp_path / "table.csv").columns == ()
    assert csv_text(["a"], []) == "a\n"


@pytest.mark.parametrize("content", [None, b"a,b\n\xff\xfe,2\n", b"a\n" + b"x" * 200_000 + b"\n"])
def test_files_that_are_not_a_table_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"table\.csv: cannot be read as a CSV table"):
        read_csv(path)


def test_zero_bytes_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"id,volume\na,scan\nb,sc\0an\n")
    with pytest.raises(InputError, match=r"table\.csv, line 3: has a zero byte"):
        read_csv(path)


def test_many_columns_are_compared_quickly(tmp_path):
    (tmp_path / "a.csv").write_text(",".join(f"c{i}" for i in range(100_000)) + ",c7\n")
    with pytest.raises(InputError, match="the column 'c7' twice"):
        read_csv(tmp_path / "a.csv")
