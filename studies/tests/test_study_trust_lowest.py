"""The lowest versions that the package states."""

import pytest

from studies.trust.lowest import lowest


def test_each_dependency_has_a_lowest_version():
    pins = lowest(["io"])
    names = [pin.split("==")[0] for pin in pins]
    assert {"numpy", "zarr", "SimpleITK", "dask[array]"} <= set(names)
    assert "torch" not in names
    assert len(set(names)) == len(names)


def test_a_dependency_without_a_bound_is_named(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch>=2.6", "b==2.0", "c>=1.5,<2", "a"]\n')
    with pytest.raises(ValueError, match="a: states no lowest version"):
        lowest(project=tmp_path / "pyproject.toml")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch>=2.6", "b==2.0", "c>=1.5,<2"]\n')
    assert lowest(project=tmp_path / "pyproject.toml") == ["b==2.0", "c==1.5"]
