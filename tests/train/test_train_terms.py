"""Loss terms can be added from outside with one function and one line of a recipe, also with their own networks."""

import dataclasses
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from tests.support.training import bits, rows, same, stop_at, toy_pair, toy_recipe
from tomostain.errors import InputError, InterruptedRunError
from tomostain.train import LoadedDataset, Trainer, load_recipe, register_term, train_model
from tomostain.train import terms as registry
from tomostain.train.checkpoint import LAST, read_checkpoint
from tomostain.train.terms import RENAMED, TERMS, Term, find_term

STEPS = 6


@pytest.fixture(autouse=True)
def own_terms(monkeypatch):
    """Forget the terms that a test registers."""
    known = dict(TERMS)
    yield
    TERMS.clear()
    TERMS.update(known)


@pytest.fixture
def pairs():
    return [toy_pair(f"p{seed}", seed) for seed in range(3)]


def tiny_features():
    """Build a fixed network of random features."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1))


class Head(nn.Module):
    """Projects the features of an image."""

    def __init__(self, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, image):
        return functional.normalize(self.layers(image), dim=1)


def add_perceptual():
    built = []

    def build():
        built.append(tiny_features())
        return built[-1]

    @register_term("tiny_perceptual", paired=True, frozen={"features": build})
    def perceptual(step):
        features = step.network("features")
        return (features(step.fake_y) - features(step.y)).square().mean()

    return built


def add_contrastive():
    @register_term("contrastive", paired=True, trained={"head": Head})
    def contrastive(step):
        head = step.network("head")
        query, key = (functional.avg_pool2d(head(image), 4).flatten(2) for image in (step.fake_y, step.y))
        scores = torch.einsum("bcn,bcm->bnm", query, key) / 0.07
        return functional.cross_entropy(scores, torch.arange(scores.shape[1]).expand(len(scores), -1))


def test_a_perceptual_loss_has_a_fixed_network_that_is_built_once_and_not_saved(pairs, tmp_path):
    built = add_perceptual()
    recipe = toy_recipe(terms={"l1": 1, "tiny_perceptual": 10})
    trainer = Trainer(recipe, LoadedDataset.from_pairs(pairs), 0, 0, "cpu")
    before = [value.clone() for value in trainer.state.networks.frozen["features"].parameters()]
    generator = [value.detach().clone() for value in trainer.state.networks.g_xy.parameters()]
    for _ in range(3):
        assert trainer.take_step()["tiny_perceptual"] > 0
    assert len(built) == 1
    assert same(before, list(built[0].parameters()))
    assert not any(value.requires_grad for value in built[0].parameters())
    assert not same(generator, list(trainer.state.networks.g_xy.parameters()))
    run = train_model(pairs, tmp_path / "run", recipe=recipe, max_steps=5)
    assert set(read_checkpoint(run / LAST)["networks"]) == {"g_xy"}
    assert "tiny_perceptual" in rows(run)[-1]


def test_the_gradient_of_a_fixed_network_reaches_the_generator(pairs):
    add_perceptual()
    trainer = Trainer(toy_recipe(terms={"tiny_perceptual": 1}), LoadedDataset.from_pairs(pairs), 0, 0, "cpu")
    trainer.take_step()
    assert any(value.grad is not None and value.grad.any() for value in trainer.state.networks.g_xy.parameters())


def test_a_projection_head_is_trained_and_saved(pairs, tmp_path):
    add_contrastive()
    recipe = toy_recipe(terms={"l1": 1, "contrastive": 1}, loss_networks={"head": {"width": 6}})
    trainer = Trainer(recipe, LoadedDataset.from_pairs(pairs), 0, 0, "cpu")
    before = [value.detach().clone() for value in trainer.state.networks.trained["head"].parameters()]
    assert before[0].shape[0] == 6
    trainer.take_step()
    assert not same(before, list(trainer.state.networks.trained["head"].parameters()))
    run = train_model(pairs, tmp_path / "run", recipe=recipe, max_steps=2)
    saved = read_checkpoint(run / LAST)["networks"]
    assert set(saved) == {"g_xy", "loss.head"}
    assert saved["loss.head"]["layers.0.weight"].shape[0] == 6


@pytest.mark.parametrize("changes", [{}, {"batch": 4, "accumulate": 2}], ids=["whole", "in parts"])
def test_a_run_with_loss_networks_resumes_to_the_same_bits(pairs, tmp_path, changes):
    add_perceptual()
    add_contrastive()
    terms = {"adversarial_y": 1, "tiny_perceptual": 1, "contrastive": 1}
    options = {"recipe": toy_recipe(terms=terms, **changes), "seed": 5, "max_steps": STEPS}
    whole = train_model(pairs, tmp_path / "whole", **options)
    with pytest.raises(InterruptedRunError):
        train_model(pairs, tmp_path / "run", **options, **stop_at(2))
    train_model(pairs, tmp_path / "run", **options, resume=True)
    assert same(bits(tmp_path / "run"), bits(whole))
    assert rows(tmp_path / "run") == rows(whole)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"haed": {}}, "loss_networks: no active term has a network 'haed'; known: head"),
        ({"head": {"widht": 3}}, "loss_networks: head: got an unexpected keyword argument 'widht'"),
    ],
)
def test_wrong_arguments_of_loss_networks_are_named(networks, message):
    add_contrastive()
    with pytest.raises(InputError, match=message):
        toy_recipe(terms={"contrastive": 1}, loss_networks=networks)


def test_two_networks_cannot_have_one_name():
    add_perceptual()
    register_term("other", frozen={"features": tiny_features})(lambda step: step.fake_y.mean())
    with pytest.raises(InputError, match="two terms give different networks the name 'features'"):
        toy_recipe(terms={"tiny_perceptual": 1, "other": 1})


def test_an_undeclared_network_is_named(pairs):
    register_term("careless")(lambda step: step.network("features")(step.fake_y).mean())
    trainer = Trainer(toy_recipe(terms={"careless": 1}), LoadedDataset.from_pairs(pairs), 0, 0, "cpu")
    with pytest.raises(KeyError, match="no active term declares a network 'features'; declared: none"):
        trainer.take_step()


def test_rules_about_a_term_are_its_attributes():
    def compute(step):
        return step.fake_y.mean()

    register_term("whole", whole_batch=True)(compute)
    register_term("three", channels=3)(compute)
    register_term("judge", discriminators=("d_y",), judged="histology")(compute)
    register_term("bend", needs_deformation=True, regulariser=True)(compute)
    register_term("back", needs_reverse=True)(compute)
    for changes, message in (
        ({"terms": {"whole": 1}, "accumulate": 2}, "whole need the mask of the whole batch"),
        ({"terms": {"three": 1}, "in_channels": 1}, "in_channels 1 rules out the term 'three', which needs 3"),
        ({"terms": {"judge": 1, "adversarial_y": 1}}, "judge and adversarial_y need different discriminators"),
        ({"terms": {"bend": 1}}, "bend without a term that fits the deformation"),
        ({"terms": {"back": 1, "conditional_adversarial": 1}}, "has no reverse direction; remove back"),
    ):
        with pytest.raises(InputError, match=message):
            toy_recipe(**changes)
    assert toy_recipe(terms={"back": 1}).needs_reverse
    assert not toy_recipe(terms={"three": 1}).paired


def test_a_name_is_registered_once():
    for name in ("l1", "settled"):
        with pytest.raises(ValueError, match=f"a loss term '{name}' is already registered"):
            register_term(name)(lambda step: step.fake_y.mean())


def test_another_package_adds_a_term_by_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "their_losses.py").write_text(
        "from tomostain.train import register_term\n"
        "@register_term('theirs', paired=True)\n"
        "def theirs(step):\n"
        "    return (step.fake_y - step.y).abs().mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("theirs", "their_losses", registry.ENTRY_POINTS)]
    monkeypatch.setattr(registry, "entry_points", lambda group, name: [p for p in points if p.name == name])
    assert "their_losses" not in sys.modules
    assert toy_recipe(terms={"theirs": 2}).paired
    assert "theirs" in TERMS
    sys.modules.pop("their_losses")


def test_a_package_that_cannot_be_imported_is_named(monkeypatch):
    points = [EntryPoint("broken", "no_such_module", registry.ENTRY_POINTS)]
    monkeypatch.setattr(registry, "entry_points", lambda group, name: [p for p in points if p.name == name])
    with pytest.raises(InputError, match="term 'broken': cannot import no_such_module"):
        find_term("broken")


def test_older_names_of_terms_and_keys_are_accepted_with_a_warning():
    terms = {"adversarial": 1, "settled": 6, "smoothness": 1, "tolerant": 2}
    older = {"terms": terms, "field": {"name": "field", "width": 2, "levels": 2}, "realign": 4}
    with pytest.warns(DeprecationWarning, match="is now") as caught:
        recipe = toy_recipe(**older)
    messages = {str(warning.message) for warning in caught}
    assert "the recipe key 'realign' is now 'residual_registration'" in messages
    assert "the loss term 'settled' is now 'registered_pixelwise'" in messages
    assert recipe == toy_recipe(
        terms={RENAMED.get(name, name): weight for name, weight in terms.items()},
        deformation=older["field"],
        residual_registration=4,
    )
    for changes in ({"terms": {"settled_l1": 1, "registered_l1": 1}}, {"realign": 4, "residual_registration": 4}):
        with pytest.raises(InputError, match="keep one of them"):
            toy_recipe(**changes)


def test_older_names_of_functions_and_classes_are_found_with_a_warning():
    from tomostain.train import distributed, losses

    with pytest.warns(DeprecationWarning, match="distributed.Team is now DistributedContext"):
        assert distributed.Team is distributed.DistributedContext
    with pytest.warns(DeprecationWarning, match="leads is now is_rank_zero"):
        assert distributed.DistributedContext("cpu").leads
    with pytest.warns(DeprecationWarning, match="losses.tolerant is now shift_tolerant_l1"):
        assert losses.tolerant is losses.shift_tolerant_l1
    sampler = Trainer(toy_recipe(terms={"l1": 1}), LoadedDataset.from_pairs([toy_pair("a", 0)]), 0, 0, "cpu").sampler
    with pytest.warns(DeprecationWarning, match="this method of PatchSampler is now original"):
        np.testing.assert_array_equal(sampler.given(0)[0], sampler.original(0)[0])
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = distributed.DistributedContext("cpu").nothing


def test_the_page_on_adding_a_loss_is_true(pairs, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-loss.md").read_text(encoding="utf-8")
    table = page.partition("|---|---|\n")[2].partition("\n\n")[0]
    files = re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", page, flags=re.DOTALL)[: len(files)]
    assert files == ["my_losses.py", "my-recipe.yaml"]
    for name, text in zip(files, blocks, strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("edges", "my_losses", registry.ENTRY_POINTS)]
    monkeypatch.setattr(registry, "entry_points", lambda group, name: [p for p in points if p.name == name])
    recipe = load_recipe(tmp_path / "my-recipe.yaml").model_copy(update={"patch_px": 32})
    losses = Trainer(recipe, LoadedDataset.from_pairs(pairs), 0, 0, "cpu").take_step()
    sys.modules.pop("my_losses")
    assert losses["edges"] > 0


@pytest.mark.parametrize(
    ("name", "term"), [("a fixed network", "pathology"), ("a network that is trained", "contrastive")]
)
def test_the_networks_on_the_page_on_adding_a_loss_run(pairs, monkeypatch, name, term):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-loss.md").read_text(encoding="utf-8")
    part = page.partition(f"## A loss with {name}")[2].partition("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", part, flags=re.DOTALL)[1]
    stated = re.search(r"```yaml\n(.*?)```", part, flags=re.DOTALL)
    values = {"base": "tomostain-cpu", "name": term, "terms": {"adversarial_y": 1, term: 1}}
    monkeypatch.setattr(registry, "TERMS", dict(registry.TERMS))
    exec(compile(code, "my_losses.py", "exec"), {"__name__": "my_losses"})
    recipe = load_recipe({**(yaml.safe_load(stated[1]) if stated else values), "patch_px": 32, "batch": 1})
    losses = Trainer(recipe, LoadedDataset.from_pairs(pairs), 0, 0, "cpu").take_step()
    assert losses[term] > 0


def test_the_page_on_adding_a_loss_names_existing_objects():
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-loss.md").read_text(encoding="utf-8")
    for path in re.findall(r"`(src/[^`]+|tests/[^`]+)`", page):
        assert (Path(__file__).parents[2] / path).exists(), path
    for option in re.findall(r"`(\w+)`", page.partition("argument of `register_term`:")[2].partition("(see")[0]):
        assert option in {field.name for field in dataclasses.fields(Term)}, option
