"""Commands on the pages about training: they exist with their options, and those of `choose-a-recipe.md` run."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from tests.support.packages import install_models
from tests.support.training import toy_pair, toy_recipe
from tomostain.cli.main import app, run
from tomostain.dataset.writer import save_dataset
from tomostain.models import catalogue
from tomostain.train import train

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"
PAGES = ("choose-a-recipe.md", "train.md", "own-data.md", "volumes.md")


def commands(page: str) -> list[list[str]]:
    """Return the commands in the blocks of a page, as words without comments."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    lines = re.findall(r"^    (tomostain .*)$", text, flags=re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_exist_with_their_options(page):
    verbs = typer.main.get_command(app).commands
    listed = commands(page)
    assert len(listed) > 2
    for verb, *words in listed:
        known = {option for parameter in verbs[verb].params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert used <= known, f"{page}: {verb}"


def test_the_commands_about_fine_tuning_run(tmp_path, monkeypatch, capsys):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(3)]
    data = save_dataset(tmp_path / "dataset", pairs, test=["p2"]).path
    first = train(data, tmp_path / "first", recipe=toy_recipe(terms={"l1": 1}), max_steps=1)
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path / "none")
    install_models(monkeypatch, tmp_path / "package", phantom_tb=first / "model")
    monkeypatch.chdir(tmp_path)
    for words in commands("choose-a-recipe.md"):
        if words[0] == "train" and "--dry-run" not in words:
            words = [*words, "--max-steps", "1"]
        if words[0] in ("evaluate", "compare"):
            words = [*words, "--device", "cpu"]
        assert run(["-q", *words]) == 0, words
    assert (tmp_path / "comparison" / "table.txt").is_file()
    assert "run-scratch" in (tmp_path / "comparison" / "table.txt").read_text(encoding="utf-8")
    assert "default on" in capsys.readouterr().out
