"""A model in memory: its losses, picture and weights are those of a run, and it can be saved."""

import pytest

from tests.support.training import same, stop_at, toy_pair, toy_recipe
from tomostain.dataset.loaded import LoadedDataset
from tomostain.errors import InputError, InterruptedRunError
from tomostain.io.models import load_model
from tomostain.train import train_model
from tomostain.train.trained_model import TrainedModel

PAIRS = [toy_pair("a", 0), toy_pair("b", 1)]
SMALL = {"terms": {"l1": 1}, "generator": {"name": "resnet", "width": 1, "blocks": 1}}


@pytest.fixture(scope="module", params=["cycles", "one generator"])
def recipe(request):
    return toy_recipe(**({} if request.param == "cycles" else SMALL))


@pytest.fixture(scope="module")
def trained(recipe):
    return train_model(PAIRS, recipe=recipe, max_steps=4)


def test_a_model_in_memory_is_that_of_a_run(trained, recipe, tmp_path):
    run = train_model(PAIRS, tmp_path / "run", recipe=recipe, max_steps=4)
    expected = load_model(run / "model")
    assert trained.hash == expected.hash
    assert same(trained.state, expected.state)
    assert (trained.reverse_state is not None) == recipe.needs_reverse
    assert same(trained.reverse_state, expected.reverse_state)
    assert trained.training_reference.keys() == expected.training_reference.keys()
    assert repr(trained) == f"TrainedModel(toy, 4 steps, 20 µm, hash {expected.hash[:12]})"


def test_the_losses_end_with_the_last_step(trained, recipe):
    # Epochs have three steps, so that metrics.csv of the run has no row of the fourth.
    assert trained.losses["step"].tolist() == [3, 4]
    assert trained.losses["epoch"].tolist() == [1, 1]
    assert trained.losses[[*recipe.active, "total"]].notna().all(axis=None)


def test_a_last_step_that_is_recorded_is_not_repeated(recipe):
    assert train_model(PAIRS, recipe=recipe, max_steps=3).losses["step"].tolist() == [3]


def test_a_saved_model_is_the_same_and_is_not_replaced_by_default(trained, tmp_path):
    folder = trained.save(tmp_path / "model")
    assert folder == tmp_path / "model"
    loaded = load_model(folder)
    assert (loaded.hash, loaded.recipe) == (trained.hash, trained.recipe)
    assert trained.picture.shape[2] == 3
    assert (folder / "picture.png").is_file()
    with pytest.raises(InputError, match="model: "):
        trained.save(folder)
    assert load_model(trained.save(folder, overwrite=True)).hash == trained.hash


def test_a_model_without_picture_is_read_with_the_losses_of_its_table(tmp_path):
    run = train_model(PAIRS, tmp_path / "run", recipe=toy_recipe(**SMALL), max_steps=4)
    (run / "model" / "picture.png").unlink()
    model = TrainedModel.of_run(run, {})
    assert model.picture is None
    assert model.losses["step"].tolist() == [3]


def test_a_stopped_training_without_a_folder_leaves_nothing():
    with pytest.raises(InterruptedRunError, match="the training was stopped; without `run`, the folder of the"):
        train_model(PAIRS, recipe=toy_recipe(**SMALL), max_steps=4, **stop_at(1))


def test_a_training_without_a_folder_cannot_be_resumed():
    with pytest.raises(InputError, match="`resume`: a training without a folder leaves nothing to continue"):
        train_model(LoadedDataset.from_pairs(PAIRS), recipe=toy_recipe(**SMALL), max_steps=4, resume=True)
