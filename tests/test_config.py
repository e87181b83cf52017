"""Configurations: frozen, strict, and helpful when a key is wrong."""

import pytest
from pydantic import ValidationError

from tomostain.config import Config, read_yaml, suggest
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
