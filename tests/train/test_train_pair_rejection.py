"""Pairs that do not correspond are left out, named in the log, and left out again after a resumed training."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.training import RESIDUAL, same, stop_at, toy_pair, toy_recipe
from tomostain.config import read_yaml
from tomostain.errors import InputError, InterruptedRunError
from tomostain.evaluate import evaluate
from tomostain.io import load_model
from tomostain.train import LoadedDataset, Recipe, Trainer, export_model, train_model
from tomostain.train.checkpoint import LAST, read_checkpoint
from tomostain.train.pair_rejection import accepted_pairs, correlation
from tomostain.train.run_folder import record_rejected_pairs
from tomostain.view.report.evaluation import evaluation_page

REJECTING = RESIDUAL | {"reject_pairs": True}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.2, 1.0))
def test_correlation_is_numpys_inside_the_mask(seed, share):
    draws = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 3, 8, 9, generator=draws)
    mask = (torch.rand(1, 8, 9, generator=draws) < share).float()
    inside = mask[0].bool().numpy()
    if inside.sum() < 2:
        return
    expected = np.corrcoef(a.numpy()[:, inside].ravel(), b.numpy()[:, inside].ravel())[0, 1]
    assert correlation(a, b, mask).item() == pytest.approx(expected, abs=1e-5)


def test_correlation_without_pixels_or_contrast_is_0():
    image = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert correlation(image, image, torch.zeros(1, 4, 4)).item() == 0
    assert correlation(image, torch.ones(3, 4, 4), torch.ones(1, 4, 4)).item() == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=5))
def test_few_pairs_are_all_accepted(correlations):
    assert all(accepted_pairs(correlations))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.75, 0.84), min_size=6, max_size=40))
def test_small_differences_do_not_reject_a_pair(correlations):
    assert all(accepted_pairs(correlations))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(6, 60).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, 3 * count // 10))),
    st.floats(0.0, 0.04),
    st.integers(0, 10_000),
)
def test_all_bad_pairs_are_rejected_up_to_30_percent_and_no_good_one(numbers, sigma, seed):
    count, bad = numbers
    draws = np.random.default_rng(seed)
    good = 0.8 + np.clip(sigma * draws.standard_normal(count - bad), -0.05, 0.05)
    values = np.concatenate([good, draws.uniform(-0.2, 0.3, bad)])
    order = draws.permutation(count)
    assert accepted_pairs(values[order].tolist()) == (order < count - bad).tolist()


@pytest.mark.parametrize(
    ("count", "bad"), [(10, 1), (10, 2), (20, 3), (20, 4), (20, 5), (50, 9), (50, 11), (10, 3), (20, 6), (50, 15)]
)
def test_each_bad_pair_of_a_study_is_rejected(count, bad):
    good = 0.8 + 0.02 * np.random.default_rng(1).standard_normal(count - bad)
    assert accepted_pairs([*good, *[0.1] * bad]) == [True] * (count - bad) + [False] * bad


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=6, max_size=40))
def test_at_most_half_of_the_pairs_are_rejected_and_only_the_lowest(correlations):
    accepted = accepted_pairs(correlations)
    rejected = [value for value, used in zip(correlations, accepted, strict=True) if not used]
    assert len(rejected) <= len(correlations) // 2
    assert all(value >= max(rejected) for value, used in zip(correlations, accepted, strict=True) if used and rejected)


def test_an_outlier_is_rejected_at_a_tenth_below_the_median():
    usual = [0.8, 0.78, 0.82, 0.79, 0.81, 0.8, 0.77, 0.83]
    assert accepted_pairs([*usual, 0.2]) == [True] * 8 + [False]
    assert accepted_pairs([*usual, 0.7]) == [True] * 9


def pairs_with_a_wrong_one():
    """Return eight pairs; the histology of the last is that of another specimen, inverted."""
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(8)]
    wrong = pairs[-1]
    inverted = np.where(wrong.histology == wrong.histology.max(axis=(0, 1)), wrong.histology.min(axis=(0, 1)), 255)
    pairs[-1] = type(wrong)("wrong", wrong.ct, inverted.astype(np.uint8), wrong.mask, 20.0, slices=wrong.slices)
    return pairs


def test_a_wrong_pair_is_left_out_and_named(caplog):
    recipe = toy_recipe(**REJECTING | {"learning_rate": 0.02, "residual_registration": 40})
    trainer = Trainer(recipe, LoadedDataset.from_pairs(pairs_with_a_wrong_one()), None, 0, "cpu")
    with caplog.at_level(logging.WARNING, "tomostain"):
        for _ in range(82):
            trainer.take_step()
    assert trainer.state.rejected == [7]
    assert list(trainer.registration.rejected(trainer.state)) == ["wrong"]
    assert "wrong (" in caplog.text
    drawn = [pair for _ in range(40) for pair in trainer.sampler.draw(trainer.state.draws).ids]
    assert "wrong" not in drawn
    assert len(set(drawn)) == 7


def test_white_air_does_not_hide_a_wrong_pair():
    """The correlation is that of the tissue: common air would raise it for every pair."""
    recipe = toy_recipe(**REJECTING | {"supervise_background": True})
    pair = toy_pair("p", 0)
    mask = np.zeros_like(pair.mask)
    mask[:20] = True
    masked = type(pair)("p", pair.ct, pair.histology, mask, 20.0, slices=pair.slices)
    trainer = Trainer(recipe, LoadedDataset.from_pairs([masked]), None, 0, "cpu")
    assert torch.equal(trainer.sampler.original(0)[2][0].bool(), torch.from_numpy(mask))


def test_a_resumed_training_leaves_out_the_same_pairs(tmp_path):
    pairs, recipe = pairs_with_a_wrong_one(), toy_recipe(**REJECTING | {"learning_rate": 0.02})
    options = {"recipe": recipe, "fold": None, "max_steps": 14}
    train_model(pairs, tmp_path / "whole", **options)
    with pytest.raises(InterruptedRunError):
        train_model(pairs, tmp_path / "parts", **options, **stop_at(10))
    train_model(pairs, tmp_path / "parts", **options, resume=True)
    whole, parts = (read_checkpoint(tmp_path / name / LAST) for name in ("whole", "parts"))
    assert whole["rejected"] == parts["rejected"]
    assert same(whole["networks"], parts["networks"])


def test_pairs_that_were_not_registered_again_keep_their_status():
    """Correlations of an earlier, worse output are lower without fault of the pair."""
    recipe = toy_recipe(**REJECTING)
    trainer = Trainer(
        recipe, LoadedDataset.from_pairs([toy_pair(f"p{seed}", seed) for seed in range(8)]), None, 0, "cpu"
    )
    state = trainer.state
    state.correlations, state.rejected = [0.4, 0.45, *[0.9] * 5, 0.1], [1]
    trainer.registration._reject(state, [2, 3, 7])
    assert state.rejected == [1, 7]
    trainer.registration._reject(state, [0, 1])
    assert state.rejected == [0, 1, 7]


def test_rejected_pairs_are_named_in_run_model_card_and_evaluation(tmp_path):
    """A run whose only registration rejected two pairs."""
    data = LoadedDataset.from_pairs([toy_pair(f"p{seed}", seed) for seed in range(8)])
    run = train_model(data, tmp_path / "run", recipe=toy_recipe(**RESIDUAL), fold=None, max_steps=1)
    assert "rejected" not in (run / "run.yaml").read_text() + (run / "model" / "README.md").read_text()
    assert "rejected" not in (run / "model" / "model.yaml").read_text()
    record_rejected_pairs(run, {"p2": 0.214, "p5": -0.1})
    model = export_model(run, tmp_path / "model", dataset=data)
    assert read_yaml(run / "run.yaml")["rejected_pairs"] == {"p2": 0.214, "p5": -0.1}
    assert load_model(model).spec.training.rejected_pairs == {"p2": 0.214, "p5": -0.1}
    assert "rejected pairs, with their correlation with the output: p2 (0.21), p5 (-0.10)" in (
        model / "README.md"
    ).read_text(encoding="utf-8")
    table = evaluate(model, data, tmp_path / "evaluation", split="train", baselines=False, lpips="none")
    sentence = "2 of 8 training pairs were rejected"
    assert sum(sentence in note for note in table.notes) == 1
    page = evaluation_page(tmp_path / "evaluation", table, model)
    for text in (page, tmp_path / "evaluation" / "evaluate.yaml", tmp_path / "evaluation" / "table.txt"):
        assert sentence in " ".join(text.read_text(encoding="utf-8").split())
    record_rejected_pairs(run, {})
    assert "rejected" not in (run / "run.yaml").read_text()


def test_rejection_without_residual_registration_is_refused():
    values = toy_recipe().model_dump() | {"reject_pairs": True}
    with pytest.raises(InputError, match="set residual_registration"):
        Recipe.from_dict(values)
