"""The verb `doctor`."""

import re
import tomllib
from pathlib import Path

import pytest
import torch

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
    named = {re.match(r"[\w-]+", package)[0]: extra for extra, packages in extras.items() for package in packages}
    assert named == OPTIONAL
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^  {re.escape(name)} +\S", out, flags=re.MULTILINE) for name in named)


# Extras that name others, or are for developers.
_OTHERS = ("all", "docs", "dev")
