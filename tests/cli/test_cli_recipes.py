"""The verb `recipes`."""

import yaml

from tomostain.cli.main import run


def test_recipes_can_be_listed_and_shown(capsys):
    assert run(["recipes"]) == 0
    assert {"paired-cyclegan", "cyclegan", "cyclegan-inverted", "pix2pix"} <= set(capsys.readouterr().out.split())
    assert run(["recipes", "paired-cyclegan"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["batch"] == 4  # paper section 2.6.3
