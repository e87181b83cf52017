"""The figures of the code are counted as they say."""

from studies.architecture.figures import figures, functions_with_many_parameters, repeated_blocks

BLOCK = "\n".join(f"    value = value + {number}" for number in range(7))


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_parameters_types_and_blocks_are_counted(tmp_path):
    parameters = ", ".join("abcdefgh")
    write(tmp_path, "one/first.py", f'"""Text."""\n\n\ndef wide({parameters}):\n{BLOCK}\n    return a\n')
    write(tmp_path, "one/second.py", f"class Narrow:\n  def method(self, {parameters[:-3]}):\n{BLOCK}\n")
    write(tmp_path, "alone.py", "from typing import Any\n\n\ndef loose(value: Any) -> Any:\n    return value\n")
    assert functions_with_many_parameters(tmp_path) == [("one/first.py", "wide", 8)]
    assert repeated_blocks(tmp_path) == 2  # one block, at two places
    values = figures(tmp_path)
    assert values["files"] == "3"
    assert values["files per package"] == "one 2"
    assert values["`Any` in signatures"] == "2"


def test_comments_docstrings_and_imports_are_not_blocks(tmp_path):
    text = '"""A\nB\nC\nD\nE\nF\nG."""\n\nimport os\nimport re\nimport sys\nimport ast\nimport json\nimport csv\n# a\n'
    write(tmp_path, "a.py", text)
    write(tmp_path, "b.py", text)
    assert repeated_blocks(tmp_path) == 0
