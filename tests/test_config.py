"""Configurations: frozen, strict, and helpful when a key is wrong."""

import itertools
import os

import pytest
from pydantic import ValidationError

from tomostain.config import MAX_DEPTH, Config, parse_yaml, read_yaml, suggest
from tomostain.errors import InputError


class Inner(Config):
    size_px: int = 64


class Outer(Config):
    inner: Inner = Inner()
    rate: float = 1.0


def test_a_yaml_file_survives_the_round_trip(tmp_path):
    path = tmp_path / "outer.yaml"
    outer = Outer(inner=Inner(size_px=32), rate=0.5)
    path.write_text(outer.to_yaml())
    assert Outer.from_yaml(path) == outer


def test_a_configuration_is_frozen():
    with pytest.raises(ValidationError):
        Outer().rate = 2.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1}, "somewhere: unknown key 'rat'; did you mean 'rate'?"),
        ({"inner": {"size": 1}}, "unknown key 'inner.size'; did you mean 'size_px'?"),
        ({"inner": {"size_px": "many"}}, "inner.size_px = 'many'"),
        ({"rate": float("nan")}, "rate = nan"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(InputError) as caught:
        Outer.from_dict(values, source="somewhere")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1}, "Outer: unknown key 'rat'; did you mean 'rate'?"),
        ({"inner": {"size": 1}}, "Outer: unknown key 'inner.size'; did you mean 'size_px'?"),
        ({"rate": "fast"}, "Outer: rate = 'fast': "),
    ],
)
def test_a_wrong_field_in_python_is_named_as_in_a_file(values, message):
    with pytest.raises(InputError) as caught:
        Outer(**values)
    assert str(caught.value).startswith(message)
    assert "http" not in str(caught.value)


def test_unreadable_yaml_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml: no such file"):
        read_yaml(tmp_path / "nothing.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(InputError, match="expected a mapping"):
        read_yaml(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(InputError, match=r"bad\.yaml: not a YAML file"):
        read_yaml(tmp_path / "bad.yaml")


def test_yaml_cannot_build_python_objects(tmp_path):
    (tmp_path / "evil.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError, match="not a YAML file"):
        read_yaml(tmp_path / "evil.yaml")


def test_suggest_lists_what_is_known_when_nothing_is_near():
    assert suggest("qqq", ["b", "a"]) == "; known: a, b"


def nines(letters):
    """Return YAML in which each line repeats the line before nine times."""
    lines = [f"{letters[0]}: &{letters[0]} [{', '.join('x' * 9)}]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise(letters)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 100_000 + "]" * 100_000, "nested more than 50 times, line 1"),
        ("\n".join(" " * depth + "a:" for depth in range(2000)), "nested more than 50 times, line 51"),
        (nines("abcdefghijkl"), "aliases repeat more than 100000 values, line 6"),
        ("a: &a {x: 1}\nb: {<<: &b [*a, *b]}", "alias 'b' has no complete anchor before it, line 2"),
        ("a: &a [*a]", "alias 'a' has no complete anchor before it, line 1"),
        ("a: 1\nb: " + "9" * 100_000, "'9{40}' is not a possible number, line 2"),
        ("a: 0x" + "f" * 100_000, "is not a possible number, line 1"),
        ("a: 1" + ":10" * 500_000, "is not a possible number, line 1"),
        ("a: -9223372036854775809", "'-9223372036854775809' is not a possible number"),
        ("a: 1\nb: 2024-13-45", "'2024-13-45' is not a possible date, line 2"),
        ("a: 2024-02-30T25:61:00Z", "is not a possible date, line 1"),
        ("a: 1\nb: 2\na: 3", "key 'a' occurs twice, line 3"),
        ("x: {a: 1, b: {c: 1, c: 1}}", "key 'c' occurs twice, line 1"),
        ("a: !!bool maybe", "a value does not have the type of its tag"),
        ("a: !!timestamp maybe", "'maybe' is not a possible date, line 1"),
        ("a: !!int maybe", "'maybe' is not a possible number, line 1"),
        ("? {a: 1}\n: 2", "found unhashable key"),
        ("a: 1\n---\nb: 2", "found another document"),
    ],
)
def test_invalid_or_ambiguous_yaml_gives_a_one_line_error(text, message):
    with pytest.raises(InputError, match=f"^recipe: not a YAML file \\(.*{message}") as caught:
        parse_yaml(text, "recipe")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_yaml_that_people_and_we_write_is_read():
    text = "a: &x {b: 1, c: [1, 2]}\nd: {<<: *x, b: 2}\ne: *x\nf: 2024-01-31\ng: 1_000\nh: {'1': a, 1: b}\ni: 1e999"
    values = parse_yaml(text, "recipe")
    assert values["d"] == {"b": 2, "c": [1, 2]}
    assert values["e"] == {"b": 1, "c": [1, 2]}
    assert (str(values["f"]), values["g"], values["h"]) == ("2024-01-31", 1000, {"1": "a", 1: "b"})
    deep = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse_yaml(deep, "recipe")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_or_a_folder_instead_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", tmp_path):
        with pytest.raises(InputError, match="is not a regular file; give a YAML file"):
            read_yaml(path)
    (tmp_path / "large.yaml").touch()
    os.truncate(tmp_path / "large.yaml", 10**9)
    with pytest.raises(InputError, match="has 1000000000 bytes; a YAML file has at most"):
        read_yaml(tmp_path / "large.yaml")


def test_a_value_of_a_megabyte_is_cut_in_the_message():
    with pytest.raises(InputError) as caught:
        Outer.from_dict({"rate": "9" * 10**6}, source="somewhere")
    assert len(str(caught.value)) < 400


def test_a_yaml_file_that_is_a_link_to_itself(tmp_path):
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    with pytest.raises(InputError, match=r"a\.yaml: cannot be read"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("key", ["~", "3", "2026-01-02", "true", "1.5"])
def test_a_key_that_is_not_text_is_refused(key):
    with pytest.raises(InputError, match=r"the key .* not text"):
        parse_yaml(f"a: 1\n{key}: 2\n", "a.yaml")
