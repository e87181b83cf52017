"""The verb `recipes`."""

import yaml

from tomostain.cli.main import run
from tomostain.train.default_recipe import DEFAULT_RECIPES


def test_recipes_can_be_listed_and_shown(capsys):
    assert run(["recipes"]) == 0
    assert {"paired-cyclegan", "cyclegan", "cyclegan-inverted", "pix2pix"} <= set(capsys.readouterr().out.split())
    assert run(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("[default on cpu]")] == [DEFAULT_RECIPES["cpu"]]
    assert [line.split()[0] for line in lines if line.endswith("[default on cuda]")] == [DEFAULT_RECIPES["cuda"]]
    assert run(["recipes", "paired-cyclegan"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["batch"] == 4  # paper section 2.6.3


def test_older_names_in_a_recipe_are_reported_once(tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: tomostain-cpu\nname: mine\nterms: {adversarial_y: 1, tolerant: 20}\nrealign: 7\n")
    assert run(["recipes", str(mine)]) == 0
    out, err = capsys.readouterr()
    values = yaml.safe_load(out)
    assert (values["terms"], values["residual_registration"]) == ({"adversarial_y": 1, "shift_tolerant_l1": 20}, 7)
    assert err.splitlines() == [
        "warning: the recipe key 'realign' is now 'residual_registration'",
        "warning: the loss term 'tolerant' is now 'shift_tolerant_l1'",
    ]
