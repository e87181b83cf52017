"""The page about adding a built-in model: its code makes a folder, and its entry point makes it a model."""

import re
import sys
from pathlib import Path

import pytest

from tests.support.packages import install_package
from tests.support.training import toy_pair, toy_recipe
from tomostain.dataset.writer import save_dataset
from tomostain.io import list_models, load_model, read_model_card
from tomostain.models import catalogue
from tomostain.train import train

PAGE = (Path(__file__).parents[2] / "docs/how-to/add-a-model.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Train a run, and run the first block of the page next to it; return the model folder."""
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(2)]
    dataset = save_dataset(tmp_path / "dataset", pairs).path
    recipe = toy_recipe(terms={"adversarial_y": 1, "l1": 5})
    monkeypatch.chdir(tmp_path)
    train(dataset, "run", recipe=recipe, max_steps=1)
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], {})
    return tmp_path / "my-model"


def test_the_page_lists_the_files_of_the_folder(folder):
    table = PAGE.partition("| file |")[2].partition("\n\n")[0]
    files = set(re.findall(r"`([\w.]+)`", table))
    names = {path.name for path in folder.iterdir()}
    assert names <= files
    assert files - names == {"reverse.safetensors"}  # the toy recipe has no reverse generator
    assert set(load_model(folder).discriminators) == {"d_y"}


def test_an_entry_point_of_the_page_is_a_built_in_model(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path / "none")
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    group, entry = re.search(r'\[project\.entry-points\."(.*?)"\]\n(.*)', PAGE).groups()
    name, target = (part.strip(' "') for part in entry.split("="))
    module, attribute = target.split(":")
    top = module.partition(".")[0]
    points = f"[{group}]\n{name} = {top}:{attribute}\n"
    install_package(monkeypatch, tmp_path / "site", top, code, points)
    monkeypatch.delitem(sys.modules, top, raising=False)
    folder.rename(tmp_path / "site" / "my-model")
    (model,) = list_models()
    assert model.name == "builtin:my-model"
    assert model.describe()[1] == "  phantom: for trying the software and for fine-tuning; no biology"
    assert "## Licence\n\nBSD-3-Clause" in read_model_card("builtin:my-model")
    sys.modules.pop(top, None)
