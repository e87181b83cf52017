"""The training loop: it learns, stops on request, and resumes bit for bit from any step."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy import ndimage

from tests.support.training import DROPOUT, REGISTERED, RESIDUAL, bits, rows, same, stop_at, toy_pair, toy_recipe
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError, InterruptedRunError, OutOfDistributionWarning
from tomostain.io import load_model
from tomostain.networks.build import build_network
from tomostain.train import export_model, plan_training, train
from tomostain.train.checkpoint import LAST, read_checkpoint
from tomostain.train.loop import contrast
from tomostain.train.trainer import Trainer

STEPS = 10
RECIPES = {
    "cycles": toy_recipe(),
    "dropout": toy_recipe(**DROPOUT),
    "registered": toy_recipe(**REGISTERED),
    "residual": toy_recipe(**RESIDUAL),
    "slices": toy_recipe(**RESIDUAL, in_channels=1, ct_slices=3),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(4)]
    return save_dataset(tmp_path_factory.mktemp("toy") / "dataset", pairs, test=["p3"], folds=[["p2"], ["p1"]]).path


@pytest.fixture(scope="module", params=RECIPES)
def whole(request, dataset, tmp_path_factory):
    """Return a recipe and its run that was never interrupted."""
    recipe = RECIPES[request.param]
    run = tmp_path_factory.mktemp("whole") / request.param
    return recipe, train(dataset, run, recipe=recipe, seed=5, max_steps=STEPS)


@pytest.mark.parametrize("stops", [[1], [3], [4, 5], [9]])
def test_an_interrupted_run_resumes_to_the_same_bits(whole, dataset, tmp_path, stops):
    recipe, expected = whole
    options = {"recipe": recipe, "seed": 5, "max_steps": STEPS}
    run = tmp_path / "run"
    for number, stop in enumerate(stops):
        with pytest.raises(InterruptedRunError, match=rf"stopped at step {stop} of {STEPS}; set `resume=True`"):
            train(dataset, run, **options, resume=number > 0, **stop_at(stop))
        assert read_checkpoint(run / LAST)["step"] == stop
        assert not (run / "model").exists()
    train(dataset, run, **options, resume=True)
    assert same(bits(run), bits(expected))
    assert rows(run) == rows(expected)
    assert load_model(run / "model").hash == load_model(expected / "model").hash
    for best in expected.glob("best-*"):
        assert same(read_checkpoint(run / best.name), read_checkpoint(best))


def test_a_killed_run_drops_the_rows_after_its_checkpoint(whole, dataset, tmp_path):
    # The state after a kill: `last` of an earlier step, and rows of metrics from later steps.
    recipe, expected = whole
    run = tmp_path / "run"
    train(dataset, run, recipe=recipe, seed=5, max_steps=4)
    before = (run / LAST).read_bytes()
    train(dataset, run, recipe=recipe, seed=5, max_steps=8, resume=True)
    (run / LAST).write_bytes(before)
    train(dataset, run, recipe=recipe, seed=5, max_steps=STEPS, resume=True)
    assert rows(run) == rows(expected)
    assert same(bits(run), bits(expected))


def test_the_seed_decides_the_bits(whole, dataset, tmp_path):
    recipe, expected = whole
    again = train(dataset, tmp_path / "again", recipe=recipe, seed=5, max_steps=STEPS)
    assert same(bits(again), bits(expected))
    other = train(dataset, tmp_path / "other", recipe=recipe, seed=6, max_steps=1)
    first = train(dataset, tmp_path / "first", recipe=recipe, seed=5, max_steps=1)
    assert not same(bits(other)["networks"], bits(first)["networks"])


def test_a_run_writes_the_files_that_the_page_lists(whole):
    recipe, run = whole
    names = {path.name for path in run.iterdir()}
    assert {"recipe.yaml", "run.yaml", "metrics.csv", "samples", LAST, "model"} <= names
    assert {f"best-{term}" for term in (*recipe.active, "total")} <= names
    assert any(name.startswith("events.") for name in names)
    written = rows(run)
    assert [int(row["step"]) for row in written] == [3, 6, 9, 10]  # three steps an epoch; every tenth step
    for row in written:
        assert all(float(row[term]) >= 0 for term in (*recipe.active, "total", "d_y"))
        assert bool(row["validation_psnr"]) == (int(row["step"]) % 3 == 0)
    with Image.open(run / "samples" / "step-000009.png") as picture:
        images = 5 if recipe.needs_reverse else 4
        side = recipe.patch_px + 2  # framed by one pixel
        assert picture.size == (images * side, 4 * side)  # two patches of training, two of validation


def test_best_checkpoints_hold_the_minimum_epoch_mean(whole):
    _, run = whole
    last = read_checkpoint(run / LAST)
    for term, least in last["best"].items():
        best = read_checkpoint(run / f"best-{term}")
        assert best["step"] in (3, 6, 9)
        assert 0 <= least < float("inf")
        assert set(best["networks"]) <= {"g_xy", "g_yx", "average"}


def test_the_model_folder_is_the_last_generator(whole, tmp_path):
    recipe, run = whole
    model = load_model(run / "model")
    stains = "average" if recipe.average else "g_xy"
    assert same(model.state, read_checkpoint(run / LAST)["networks"][stains])
    assert (model.spec.recipe, model.spec.stain, model.spec.voxel_um) == ("toy", "toluidine-blue", 20.0)
    assert (model.spec.fold, model.spec.steps) == (0, STEPS)
    assert model.spec.fingerprint["q01"] == 10000
    assert model.spec.fingerprint["q99"] == 30000
    # Two training pairs, of which only bone is solid.
    assert model.spec.greys == [(30000.0,) * 5] * 2
    build_network(model.spec.generator).load_state_dict(model.state)
    assert (model.reverse_state is not None) == recipe.needs_reverse
    best = load_model(export_model(run, tmp_path / "best", which="best-total"))
    assert same(best.state, read_checkpoint(run / "best-total")["networks"][stains])
    with pytest.raises(InputError, match="best-nothing: no such checkpoint"):
        export_model(run, tmp_path / "none", which="best-nothing")


def test_two_colours_are_learned(dataset, tmp_path):
    # Without normalisation: a patch of one colour is the same as one of the other to an instance norm.
    network = {"name": "resnet", "width": 8, "blocks": 1, "norm": "none"}
    recipe = toy_recipe(terms={"l1": 1}, generator=network, learning_rate=0.005, augment={"jitter": 0})
    run = train(dataset, tmp_path / "run", recipe=recipe, max_steps=150)
    written = rows(run)
    assert np.mean([float(row["l1"]) for row in written[-5:]]) < float(written[0]["l1"]) / 3
    assert float(written[-1]["validation_psnr"]) > 16


def test_without_a_fold_everything_but_the_test_set_trains(dataset, tmp_path):
    run = train(dataset, tmp_path / "run", recipe=toy_recipe(terms={"l1": 1}), fold=None, max_steps=5)
    assert "validation_l1" not in rows(run)[0]
    assert load_model(run / "model").spec.fold is None
    assert int(rows(run)[0]["step"]) == 5  # 3 patches of each of 3 pairs in batches of 2 are 5 steps an epoch


def test_time_ends_a_run_that_can_be_lengthened(dataset, tmp_path):
    recipe, run = toy_recipe(terms={"l1": 1}), tmp_path / "run"
    train(dataset, run, recipe=recipe, max_seconds=1e-9)
    assert read_checkpoint(run / LAST)["step"] == 1
    train(dataset, run, recipe=recipe, max_steps=3, resume=True)
    assert read_checkpoint(run / LAST)["step"] == 3


def test_another_clock_can_be_used(dataset, tmp_path):
    recipe, run, ticks = toy_recipe(terms={"l1": 1}), tmp_path / "run", iter(range(1000))
    train(dataset, run, recipe=recipe, max_seconds=4, clock=lambda: float(next(ticks)))
    assert read_checkpoint(run / LAST)["step"] == 4  # read once before the first step and after each
    train(dataset, run, recipe=recipe, max_seconds=6, clock=lambda: 100.0 + next(ticks), resume=True)
    assert read_checkpoint(run / LAST)["step"] == 6


def test_the_model_has_the_validation_of_its_own_step(dataset, tmp_path):
    recipe, metrics = toy_recipe(terms={"l1": 1}), []
    for steps in (2, 4):  # before the first epoch ends, and after it
        run = train(dataset, tmp_path / str(steps), recipe=recipe, max_steps=steps)
        spec = load_model(run / "model").spec
        metrics.append(spec.metrics["validation_l1"])
        assert spec.training.validation_step == spec.steps
        card = (run / "model" / "README.md").read_text(encoding="utf-8")
        assert f"Measured at step {spec.steps} of {spec.steps}." in card
    at_epoch_end = [float(row["validation_l1"]) for row in rows(run) if row["validation_l1"]]
    assert len(at_epoch_end) == 1
    assert len({*metrics, *at_epoch_end}) == 3


def test_discriminators_learn_from_their_own_loss_only(dataset):
    from tomostain.dataset.dataset import load_dataset
    from tomostain.train.objective import Step

    trainer = Trainer(toy_recipe(), load_dataset(dataset), 0, 0, "cpu")
    inputs = trainer.draw_inputs()
    step = Step(trainer.state.networks, inputs.x, inputs.y, inputs.mask)
    judges = trainer.state.networks.discriminators()
    before = {name: [p.detach().clone() for p in judge.parameters()] for name, judge in judges.items()}
    trainer.device_step.improve_generators([step], 0.0)
    for name, judge in judges.items():
        assert all(p.grad is None and p.requires_grad for p in judge.parameters())
        assert same(before[name], [p.detach() for p in judge.parameters()])
    generators = [p.detach().clone() for p in trainer.state.networks.g_xy.parameters()]
    trainer.device_step.improve_discriminators([step], inputs.exchanges)
    assert same(generators, [p.detach() for p in trainer.state.networks.g_xy.parameters()])
    assert not same(before["d_y"], [p.detach() for p in judges["d_y"].parameters()])


def test_runs_that_cannot_be_resumed_are_refused(dataset, tmp_path):
    recipe = toy_recipe(terms={"l1": 1})
    run = train(dataset, tmp_path / "run", recipe=recipe, max_steps=1)
    for changes, key in [({"recipe": toy_recipe()}, "recipe"), ({"seed": 1}, "seed"), ({"fold": 1}, "fold")]:
        with pytest.raises(InputError, match=rf"the run began with another {key} \(.*\); resume it with the same"):
            train(dataset, run, **({"recipe": recipe} | changes), max_steps=2, resume=True)
    (run / LAST).write_bytes((run / LAST).read_bytes()[:500])
    with pytest.raises(InputError, match="last: broken, or not a checkpoint"):
        train(dataset, run, recipe=recipe, max_steps=2, resume=True)


def test_a_changed_dataset_is_not_resumed_but_a_moved_one_is(tmp_path):
    data = save_dataset(tmp_path / "data", [toy_pair("a", 0), toy_pair("b", 1)]).path
    recipe, run = toy_recipe(terms={"l1": 1}), tmp_path / "run"
    train(data, run, recipe=recipe, max_steps=1)
    moved = data.rename(tmp_path / "moved")
    train(moved, run, recipe=recipe, max_steps=2, resume=True)
    save_dataset(moved, [toy_pair("a", 0), toy_pair("b", 2)], overwrite=True)
    with pytest.raises(InputError, match="the run began with other data"):
        train(moved, run, recipe=recipe, max_steps=3, resume=True)


def test_existing_folders_are_replaced_only_if_they_are_runs_and_overwrite_is_set(dataset, tmp_path):
    recipe, run = toy_recipe(terms={"l1": 1}), tmp_path / "run"
    train(dataset, run, recipe=recipe, max_steps=4)
    with pytest.raises(InputError, match="the run exists already"):
        train(dataset, run, recipe=recipe, max_steps=1)
    with pytest.raises(InterruptedRunError):
        train(dataset, run, recipe=recipe, seed=1, max_steps=2, overwrite=True, **stop_at(1))
    assert not (run / "model").exists()  # the old run's would be taken for this one's
    assert not list(run.glob("best-*"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"exists and is not a run .* so it is not replaced"):
        train(dataset, mine, recipe=recipe, max_steps=1, overwrite=True)
    assert (mine / "notes.txt").read_text() == "mine"


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_checkpoint(dataset, tmp_path):
    recipe, run = toy_recipe(terms={"l1": 1}), tmp_path / "run"
    train(dataset, run, recipe=recipe, max_steps=1)
    values = read_checkpoint(run / LAST)
    name = next(iter(values["networks"]["g_xy"]))
    values["networks"]["g_xy"][name].fill_(float("nan"))
    torch.save(values, run / LAST)
    with pytest.raises(InputError, match="step 2: the loss 'l1' is not finite; lower the recipe's learning_rate"):
        train(dataset, run, recipe=recipe, max_steps=3, resume=True)
    assert read_checkpoint(run / LAST)["step"] == 1


def without_finite_gradients(monkeypatch, which, steps):
    """Make the gradients of some steps not finite, with finite losses."""
    plain, taken = torch.nn.utils.get_total_norm, {"generators": 0, "discriminators": 0}

    def norm(gradients):
        networks = "generators" if sum(taken.values()) % 2 == 0 else "discriminators"
        taken[networks] += 1
        return plain(gradients) * (float("nan") if networks == which and taken[networks] in steps else 1.0)

    monkeypatch.setattr(torch.nn.utils, "get_total_norm", norm)


@pytest.mark.parametrize("which", ["generators", "discriminators"])
def test_steps_with_gradients_that_are_not_finite_are_counted_and_reported(dataset, monkeypatch, caplog, which):
    without_finite_gradients(monkeypatch, which, {3, 5, 6, 19})
    trainer = Trainer(toy_recipe(), load_dataset(dataset), 0, 0, "cpu")
    for _ in range(20):
        assert set(trainer.take_step()) <= set(trainer.columns)
    assert dict(trainer.skipped_steps.total) == {which: 4}
    reported = [record.getMessage() for record in caplog.records if "left out" in record.message]
    assert reported == [
        f"step 10: 3 step(s) of the {which} were left out so far, because a gradient was not finite"
    ]  # again when the number has doubled


def test_a_training_that_takes_no_step_any_more_is_an_error(dataset, tmp_path, monkeypatch):
    without_finite_gradients(monkeypatch, "generators", range(4, 100))
    with pytest.raises(InputError, match="step 13: the last 10 steps of the generators were left out, because a grad"):
        train(dataset, tmp_path / "run", recipe=toy_recipe(), max_steps=40)
    assert not (tmp_path / "run" / "model").exists()


def test_a_checkpoint_never_runs_what_a_pickle_holds(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"networks": Evil()}, tmp_path / LAST)
    with pytest.raises(InputError, match="broken, or not a checkpoint"):
        read_checkpoint(tmp_path / LAST)


def test_bf16_trains(dataset, tmp_path):
    run = train(dataset, tmp_path / "run", recipe=toy_recipe(precision="bf16-mixed"), max_steps=2)
    state = read_checkpoint(run / LAST)["networks"]["g_xy"]
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in state.values())


@pytest.mark.parametrize("judge", [2, 256], ids=["narrow", "wide"])  # a wide one with instance normalisation
def test_bf16_on_a_cpu_has_nearly_the_losses_of_float32(dataset, judge):
    changes = {"generator": {"name": "resnet", "width": 8, "blocks": 1, "norm": "channel"}, "learning_rate": 0.0002}
    changes["discriminator"] = {"name": "patch", "width": judge, "layers": 1}
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        trainer = Trainer(toy_recipe(precision=precision, **changes), load_dataset(dataset), 0, 0, "cpu")
        losses.append(trainer.take_step())
        weight = trainer.state.networks.g_xy.layers[1].weight
        assert weight.is_contiguous(memory_format=torch.channels_last)
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


def test_the_plan_states_pairs_steps_and_time(dataset):
    text = "\n".join(plan_training(dataset, recipe=toy_recipe(), max_steps=7))
    assert "2 for training, 1 for validation, 1 held out" in text
    assert "7 of 2 patches of 16 px; 3 per epoch" in text


def test_a_device_that_is_not_there_is_named(dataset, tmp_path):
    with pytest.raises(InputError, match="`device=tpux`: not a device"):
        train(dataset, tmp_path / "run", recipe=toy_recipe(), device="tpux")


def test_the_average_is_that_of_the_generators_it_followed(dataset):
    trainer = Trainer(toy_recipe(**REGISTERED), load_dataset(dataset), 0, 1, "cpu")
    networks = trainer.state.networks
    expected = [p.detach().clone() for p in networks.average.parameters()]
    for step in range(5):
        trainer.take_step()
        # It follows quickly at first, and never faster than the recipe's decay says.
        decay = min(0.9, (1 + step) / (10 + step))
        trained = networks.g_xy.parameters()
        expected = [
            decay * averaged + (1 - decay) * new.detach() for averaged, new in zip(expected, trained, strict=True)
        ]
    for averaged, right in zip(networks.average.parameters(), expected, strict=True):
        torch.testing.assert_close(averaged, right)
        assert not averaged.requires_grad


def test_the_deformation_learns_the_position_of_the_histology(tmp_path):
    # The same picture in both domains, the histology taken from 2 px further right; only the field can detect this.
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(3):
        grey = ndimage.gaussian_filter(rng.random((64, 66)), 2)
        grey = (grey - grey.min()) / np.ptp(grey)
        ct = (10000 + 20000 * grey[:, :-2]).astype(np.uint16)
        histology = np.repeat((255 * grey[:, 2:, None]).astype(np.uint8), 3, axis=2)
        pairs.append(Pair(f"p{number}", ct, histology, np.ones(ct.shape, bool), 20.0))
    data = save_dataset(tmp_path / "set", pairs).path
    recipe = toy_recipe(
        terms={"registered_pixelwise": 1, "smoothness": 0.1},
        deformation={"name": "field", "width": 8, "levels": 3, "bound_px": 4},
        patch_px=32,
        augment={"jitter": 0, "flip": False, "scale": (1, 1)},
        learning_rate=0.003,
    )
    trainer = Trainer(recipe, load_dataset(data), None, 0, "cpu")
    # Generators that change nothing (but the scale of grey values, which both domains share).
    for name in ("g_xy", "g_yx"):
        setattr(trainer.state.networks, name, torch.nn.Identity())
    for _ in range(150):
        trainer.take_step()
    batch = trainer.sampler.draw(torch.Generator().manual_seed(9))
    field = trainer.state.networks.deformation(batch.x, batch.y)
    row, column = field.mean(dim=(0, 2, 3)).tolist()
    assert abs(row) < 0.5
    assert column == pytest.approx(2.0, abs=0.5)


UNPAIRED = {"terms": {"adversarial": 1, "cycle": 6}}


@pytest.mark.parametrize(
    ("changes", "bright_is_bright", "warned"),
    [
        # In the toy data bright bone is dark purple, as in the paper's.
        (UNPAIRED, False, "Take inverted_ct: true"),
        (UNPAIRED | {"inverted_ct": True}, False, None),
        (UNPAIRED, True, None),
        (UNPAIRED | {"inverted_ct": True}, True, "Take inverted_ct: false"),
        # A paired term determines which colour belongs to which grey value.
        ({}, False, None),
        (DROPOUT, False, None),
    ],
)
def test_inverted_contrast_is_warned_of_where_nothing_is_paired(tmp_path, changes, bright_is_bright, warned):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(2)]
    if bright_is_bright:
        pairs = [dataclasses.replace(pair, ct=(40000 - pair.ct).astype(np.uint16), slices=None) for pair in pairs]
    data = save_dataset(tmp_path / "set", pairs).path
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(data, tmp_path / "run", recipe=toy_recipe(**changes), fold=None, max_steps=1)
    ood = [str(w.message) for w in caught if issubclass(w.category, OutOfDistributionWarning)]
    assert (len(ood) == 1 and warned in ood[0]) if warned else ood == []


def test_contrast_is_the_correlation_within_the_masks():
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(2)]
    assert contrast(pairs) == pytest.approx(-1.0)
    # Metal outside the networks' window counts with its clipped value; masked pixels do not count.
    first = pairs[0].ct.copy()
    first[:, :6] = 60000
    mask = np.ones(first.shape, bool)
    mask[:, :6] = False
    assert contrast([dataclasses.replace(pairs[0], ct=first, mask=mask, slices=None), pairs[1]]) == pytest.approx(-1.0)
    assert np.isnan(contrast([dataclasses.replace(pairs[0], ct=np.full_like(first, 10000), slices=None)]))


def test_a_run_that_is_older_than_a_key_can_be_resumed(dataset, tmp_path):
    recipe = toy_recipe(terms={"l1": 1})
    run = train(dataset, tmp_path / "run", recipe=recipe, max_steps=2)
    values = yaml.safe_load((run / "run.yaml").read_text())
    for key in ("deformation", "average"):
        del values["recipe"][key]
    (run / "run.yaml").write_text(yaml.safe_dump(values))
    train(dataset, run, recipe=recipe, max_steps=3, resume=True)
    assert read_checkpoint(run / LAST)["step"] == 3
    with pytest.raises(InputError, match="another recipe"):
        train(dataset, run, recipe=recipe.model_copy(update={"average": 0.5}), max_steps=4, resume=True)


def test_fast_and_plain_kernels_train_equally_and_the_run_records_which(dataset, tmp_path):
    losses = {}
    for kernels in ("fast", "plain"):
        recipe = toy_recipe(generator={"name": "resnet", "width": 64, "blocks": 1}, kernels=kernels)
        trainer = Trainer(recipe, load_dataset(dataset), 0, 0, "cpu")
        layers = {type(layer).__name__ for layer in trainer.state.networks.g_xy.modules()}
        assert ("WinogradConv2d" in layers) == (kernels == "fast")
        losses[kernels] = trainer.take_step()
    assert losses["fast"] == pytest.approx(losses["plain"], rel=1e-5)


def test_a_run_that_is_older_than_fast_kernels_resumes_without_them(dataset, tmp_path):
    run = train(dataset, tmp_path / "run", recipe=toy_recipe(kernels="plain"), max_steps=2)
    note = yaml.safe_load((run / "run.yaml").read_text())
    del note["recipe"]["kernels"]
    (run / "run.yaml").write_text(yaml.safe_dump(note))
    train(dataset, run, recipe=toy_recipe(), resume=True, max_steps=3)
    assert yaml.safe_load((run / "run.yaml").read_text())["recipe"]["kernels"] == "plain"
    with pytest.raises(InputError, match="another recipe"):
        train(dataset, run, recipe=toy_recipe(), resume=True, max_steps=4)


def test_information_of_neighbouring_slices_is_learned_from_a_slice_context(tmp_path):
    """The slice itself is noise; its neighbours, twice the same, are purple where they are bright."""
    rng, pairs = np.random.default_rng(0), []
    for number in range(3):
        toy = toy_pair(f"p{number}", number)
        noise = rng.integers(8000, 32000, toy.ct.shape).astype(np.uint16)
        pairs.append(dataclasses.replace(toy, ct=noise, slices=np.stack([toy.ct, noise, toy.ct])))
    data = save_dataset(tmp_path / "data", pairs, folds=[["p2"], ["p1"]])
    losses = {}
    for ct_slices in (1, 3):
        values = {"terms": {"l1": 1}, "in_channels": 1, "ct_slices": ct_slices, "learning_rate": 0.02}
        trainer = Trainer(toy_recipe(**values), data, 0, 0, "cpu")
        for _ in range(300):
            trainer.take_step()
        losses[ct_slices] = trainer.validate()["validation_l1"]
    assert losses[3] < 0.5 * losses[1]
