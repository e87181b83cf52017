"""The verb `train`."""


def test_unknown_recipe_key(tmp_path, fails):
    (tmp_path / "mine.yaml").write_text("base: paired-cyclegan-cpu\nname: mine\nepoch: 3\n")
    line = fails("train", tmp_path / "dataset", tmp_path / "run", "--recipe", tmp_path / "mine.yaml")
    assert "epoch" in line
    assert "did you mean 'epochs'" in line
