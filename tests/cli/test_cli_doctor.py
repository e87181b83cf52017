"""The verb `doctor`."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import torch

from tomostain import installation
from tomostain.cli.main import run
from tomostain.installation import OPTIONAL


def test_doctor_names_the_device(capsys):
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "device: " in out
    assert "torch " in out


@pytest.mark.gpu
def test_doctor_names_the_card(capsys):
    assert run(["doctor"]) == 0
    assert f"device: cuda:0, {torch.cuda.get_device_name(0)}, " in capsys.readouterr().out


def test_doctor_names_every_optional_package(capsys):
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = {name: packages for name, packages in project["optional-dependencies"].items() if name not in _OTHERS}
    # A package of two extras is listed with the first one.
    named: dict[str, str] = {}
    for extra, packages in extras.items():
        for package in packages:
            named.setdefault(re.match(r"[\w-]+", package)[0], extra)
    assert named == OPTIONAL
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^  {re.escape(name)} +\S", out, flags=re.MULTILINE) for name in named)


def test_each_missing_extra_has_the_line_that_installs_it(capsys, monkeypatch):
    version = installation._version
    monkeypatch.setattr(installation, "_version", lambda name: None if name in ("vtk", "dask") else version(name))
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  vtk +not installed \(extra render\)$", out, flags=re.MULTILINE)
    assert re.search(r"^  render +missing: pip install 'tomostain\[render\]'$", out, flags=re.MULTILINE)
    assert re.search(r"^  io +missing: pip install 'tomostain\[io\]'$", out, flags=re.MULTILINE)
    assert run(["doctor", "--json"]) == 0
    extras = json.loads(capsys.readouterr().out)["extras"]
    assert extras["render"] == {"installed": False, "missing": ["vtk"], "install": "pip install 'tomostain[render]'"}
    assert extras.keys() == set(OPTIONAL.values())


def test_memory_and_cores_are_those_of_this_process(capsys, monkeypatch):
    monkeypatch.setattr(installation, "free_memory", lambda: 3_000_000_000)
    monkeypatch.setattr(installation, "available_cores", lambda: 7)
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^memory: \d+ GB, 3 GB free; free disk here: \d+ GB$", out, flags=re.MULTILINE)
    assert re.search(r"^device: cpu, .*, 7 cores, ", out, flags=re.MULTILINE)


def test_a_gpu_that_torch_cannot_use_is_noted(capsys, monkeypatch, tmp_path):
    (tmp_path / "version").touch()
    monkeypatch.setattr(installation, "_NVIDIA_DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert run(["doctor"]) == 0
    assert "torch              has no CUDA, but this machine has an NVIDIA GPU" in capsys.readouterr().out


# Extras that name others, or are for developers.
_OTHERS = ("all", "docs", "dev")
