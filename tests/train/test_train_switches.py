"""The switches of a step: a batch in parts, recomputed activations, compiled networks. None changes what is learnt."""

import copy
import shutil

import pytest
import torch
from test_train_loop import DROPOUT, REALIGNED, bits, interrupt_at, same, toy_pair, toy_recipe
from together import double

from tomostain.errors import InputError, Interrupted
from tomostain.prepare import load_dataset, save_dataset
from tomostain.train import Trainer, train
from tomostain.train.networks import build_network
from tomostain.train.switches import compiled, recomputing

STEPS = 5
ADVERSARIAL = {
    "cycles": {},
    "judge of histology": REALIGNED | {"in_channels": 1},
    "conditional": DROPOUT | {"generator": {"name": "unet", "width": 1, "downs": 2, "dropout": 0.0}, "patch_px": 16},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(3)]
    for number, pair in enumerate(pairs):
        pair.mask[: 3 + 4 * number, 5:20] = False  # parts of a batch have unequal shares of the mask
    return save_dataset(tmp_path_factory.mktemp("switches") / "dataset", pairs, test=[], folds=[["p2"]]).path


def steps(dataset, recipe, count=STEPS):
    """Return each step's losses, in double precision."""
    with double() as losses:
        trainer = Trainer(recipe, load_dataset(dataset), 0, 0, "cpu")
        for _ in range(count):
            trainer.take_step()
    return losses, trainer


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_batch_in_parts_takes_the_step_of_the_whole(dataset, name):
    values = ADVERSARIAL[name] | {"batch": 4, "clip_norm": 5}
    whole, of_whole = steps(dataset, toy_recipe(**values))
    for parts in (2, 4):
        found, of_parts = steps(dataset, toy_recipe(**values, accumulate=parts))
        assert [dict(row) for row in found] == [pytest.approx(row, rel=1e-9, abs=1e-12) for row in whole]
        networks = (trainer.state.networks.g_xy for trainer in (of_parts, of_whole))
        for one, other in zip(*(network.parameters() for network in networks), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_gradients_of_parts_are_those_of_the_whole(dataset):
    # Adam hides a factor in the gradient: without a step of its own, it is seen.
    gradients = []
    for parts in (1, 4):
        _, trainer = steps(dataset, toy_recipe(batch=4, accumulate=parts, buffer=0), 1)
        networks = trainer.state.networks
        gradients.append([p.grad for net in (networks.g_xy, networks.d_x) for p in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 4, "accumulate": 3}, "accumulate 3 does not divide batch 4"),
        ({"accumulate": 2, "terms": {"settled": 1}}, "leave accumulate at 1"),
    ],
)
def test_what_cannot_be_divided_says_so(changes, message):
    with pytest.raises(InputError, match=message):
        toy_recipe(**changes)


def test_a_share_that_cannot_be_divided_says_so():
    from tomostain.train.team import Team

    team = Team("cpu")
    team.size = 2
    with pytest.raises(InputError, match=r"2 of 2 parts each \(accumulate\) do not divide it.*`batch: 8`"):
        team.check_batch(6, 2)


@pytest.mark.parametrize("changes", [{}, DROPOUT], ids=["resnet", "unet with dropout"])
def test_recomputed_activations_change_no_bit(dataset, tmp_path, changes):
    runs = []
    for switch in (False, True):
        recipe = toy_recipe(**changes, checkpoint_activations=switch)
        runs.append(train(dataset, tmp_path / f"{switch}", recipe=recipe, max_steps=STEPS))
    assert same(*(bits(run) for run in runs))


def test_a_run_with_switches_goes_on_to_the_same_bits(dataset, tmp_path):
    recipe = toy_recipe(accumulate=2, checkpoint_activations=True)
    whole = train(dataset, tmp_path / "whole", recipe=recipe, max_steps=STEPS)
    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "broken", recipe=recipe, max_steps=STEPS, progress=interrupt_at(2))
    train(dataset, tmp_path / "broken", recipe=recipe, max_steps=STEPS, resume=True)
    assert same(bits(tmp_path / "broken"), bits(whole))


def test_recomputing_keeps_less():
    # What autograd keeps of a forward pass is counted, in values.
    kept = []
    for prepare in (copy.copy, recomputing):
        network, held = prepare(build_network({"name": "resnet", "width": 8, "blocks": 3})), []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor, held=held: held.append(tensor.numel()), copy.copy):
            network(torch.randn(1, 3, 32, 32))
        kept.append(sum(held))
    assert kept[1] < 0.4 * kept[0]


needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler"
)


@needs_compiler
def test_compiled_networks_learn_the_same(dataset):
    losses = []
    for switch in (False, True):
        # The generator alone: every network takes the compiler half a minute.
        recipe = toy_recipe(terms={"l1": 1}, in_channels=1, compile=switch, kernels="plain")
        trainer = Trainer(recipe, load_dataset(dataset), 0, 0, "cpu")
        losses.append([trainer.take_step() for _ in range(3)])
        names = list(trainer.state.networks.g_xy.state_dict())
    assert losses[1] == [pytest.approx(row, rel=2e-3) for row in losses[0]]
    assert not any("_orig_mod" in name for name in names)


@needs_compiler
def test_a_discriminator_to_be_compiled_still_tells_its_features(dataset):
    trainer = Trainer(toy_recipe(compile=True), load_dataset(dataset), 0, 0, "cpu")
    assert trainer.state.networks.d_y.features.__name__ == "features"


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    network = build_network({"name": "patch", "width": 2})
    with pytest.raises(InputError, match=r"compile: true: torch.compile needs a C\+\+ compiler.*or set compile: false"):
        compiled(network, torch.device("cpu"))
