"""The models that the package ships are small, complete, and better than a look-up table on phantoms of other seeds."""

import numpy as np
import pytest

import tomostain as ts
from tomostain.errors import InputError
from tomostain.evaluate import evaluate_models
from tomostain.io.models import load_model
from tomostain.models import builtin_folder
from tomostain.networks import is_tile_invariant
from tomostain.train.recipes import Recipe

MODELS = {"phantom-tb": "toluidine-blue", "phantom-he": "h&e"}
MAX_BYTES = 4_000_000


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_is_complete_and_at_most_4_mb(name):
    folder = builtin_folder(name)
    model = load_model(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    assert model.spec.stain == MODELS[name]
    assert model.spec.voxel_um == 20.0
    assert model.spec.summary.endswith("no biology")
    assert model.training_reference is not None
    assert {"test_ssim", "test_lpips", "test_psnr"} <= model.spec.metrics.keys()
    assert is_tile_invariant(model.spec.generator)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "picture.png" in card
    assert model.spec.training is not None
    assert f"seed {model.spec.training.seed}" in card


@pytest.mark.parametrize("name", MODELS)
def test_its_recipe_for_fine_tuning_has_the_same_generator(name):
    folder = builtin_folder(name)
    recipe = Recipe.from_yaml(folder / "recipe.yaml")
    assert recipe.name == "tomostain-cpu"
    assert recipe.residual_registration > 0
    assert load_model(folder).spec.generator == recipe.generator_spec()


@pytest.mark.parametrize("name", MODELS)
def test_it_beats_the_look_up_table_on_a_phantom_that_it_has_not_seen(name, tmp_path):
    values = {"shape": (24, 192, 192), "voxel_um": 20.0, "pixel_um": 10.0, "orientation": "lying"}
    values |= {"stain": MODELS[name], "laboratory": {"strain": 0.0, "soft_shift_um": 0.0}}
    configs = {f"s{seed}": ts.PhantomConfig(seed=seed, material="Mg-5Gd", weeks=8, **values) for seed in (41, 42)}
    table = ts.phantom.write_study(tmp_path / "specimens", configs)
    dataset = ts.prepare_specimens(table, tmp_path / "dataset", ts.PrepareConfig(test_subjects=("s42",)))
    scores = evaluate_models(f"builtin:{name}", dataset, split="test")
    medians = scores[scores["protocol"] == "paper"].groupby("model")[["ssim", "lpips", "psnr"]].median()
    ours = medians.loc[name]
    look_up = medians.loc["grey-value look-up"]
    assert ours["ssim"] > look_up["ssim"]
    assert ours["lpips"] < look_up["lpips"]
    assert ours["psnr"] > look_up["psnr"]
    assert np.isfinite(ours).all()


def test_a_copy_replaces_only_models_and_never_its_source(tmp_path):
    copy = ts.copy_model("phantom-tb", tmp_path / "copy")
    ts.copy_model("phantom-tb", copy, overwrite=True)
    mine = tmp_path / "copy" / "thesis.txt"
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"thesis\.txt: is not a file of a model"):
        ts.copy_model("phantom-tb", copy, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"is not a model \(no model\.yaml\)"):
        ts.copy_model("phantom-tb", other, overwrite=True)
    assert mine.read_text(encoding="utf-8") == "mine"
    run = tmp_path / "run"
    ts.copy_model("phantom-tb", run / "model")
    (run / "run.yaml").touch()
    with pytest.raises(InputError, match="lies in"):
        ts.copy_model(run, run, overwrite=True)
    assert (run / "run.yaml").is_file()
