"""A typed dictionary of keywords has the names of the object that it stands for, so that no option is forgotten."""

import dataclasses
import inspect

import pytest

from tomostain.errors import InputError
from tomostain.evaluate.config import EvaluateConfig, EvaluateOptions
from tomostain.evaluate.metrics.base import Metric, MetricAttributes
from tomostain.evaluate.metrics.patch import PatchKeywords, PatchOptions
from tomostain.measure.labelling import MeasureSources, SourceKeywords
from tomostain.measure.section import SectionKeywords, SectionSources
from tomostain.stain.request import RENAMED, StainOptions, StainRequest
from tomostain.train import Recipe, load_recipe
from tomostain.train.begin import TrainKeywords, TrainOptions
from tomostain.train.default_recipe import choose_recipe
from tomostain.train.terms import Term, TermOptions
from tomostain.view.exchange.options import ModelExportKeywords, ModelExportOptions
from tomostain.view.export.formats import ExportKeywords, ExportOptions
from tomostain.view.sections import SectionKeywords as ViewSectionKeywords
from tomostain.view.sections import SectionOptions

PAIRS = {
    StainOptions: (StainRequest, {"model", "volume", "out", "may_fall_back"}, set(RENAMED)),
    TrainKeywords: (TrainOptions, set(), set()),
    ExportKeywords: (ExportOptions, set(), set()),
    ModelExportKeywords: (ModelExportOptions, set(), set()),
    SourceKeywords: (MeasureSources, {"stained"}, set()),
    SectionKeywords: (SectionSources, set(), set()),
    ViewSectionKeywords: (SectionOptions, set(), set()),
    MetricAttributes: (Metric, {"name", "compute", "summary"}, set()),
    TermOptions: (Term, {"compute"}, set()),
}
"""Keywords → the dataclass, its fields that are parameters of their own, and older names among the keywords."""


@pytest.mark.parametrize("keywords", PAIRS, ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_keywords_are_the_fields(keywords):
    target, others, older = PAIRS[keywords]
    names = {field.name for field in dataclasses.fields(target)}
    assert set(keywords.__annotations__) == (names - others) | older
    assert others <= names


def test_keywords_of_patches_are_the_parameters_of_their_options():
    assert set(PatchKeywords.__annotations__) == set(inspect.signature(PatchOptions.of).parameters)


def test_keywords_of_an_evaluation_are_the_keys_of_its_configuration():
    assert set(EvaluateOptions.__annotations__) == set(EvaluateConfig.model_fields) | {"doubt"}


def test_a_preview_depends_on_every_option_that_is_not_about_the_output():
    pytest.importorskip("qtpy")
    preview = pytest.importorskip("tomostain.napari.stain_preview")
    names = {field.name for field in dataclasses.fields(StainRequest)}
    assert names >= preview._NOT_SHOWN
    request = StainRequest("model", "volume", noise_seed=3, allow_missing=True, voxel_um=5)
    for change in ({"noise_seed": 4}, {"allow_missing": False}, {"voxel_um": 6}, {"dataset": "a"}, {"resample": True}):
        assert preview.shown_options(dataclasses.replace(request, **change)) != preview.shown_options(request), change
    assert preview.shown_options(dataclasses.replace(request, out="x")) == preview.shown_options(request)


def test_a_seed_or_a_number_of_steps_is_a_whole_number():
    assert TrainOptions(fold=None, seed=3).limits.max_steps is None
    for wrong in ({"seed": "a"}, {"seed": None}, {"max_steps": 1.5}, {"fold": True}):
        with pytest.raises(ValueError, match="expected a whole number"):
            TrainOptions(**wrong)
    with pytest.raises(TypeError, match=r"train_model\(\) got an unexpected keyword .*; did you mean 'max_steps'"):
        TrainOptions.of_keywords({"max_step": 3})


def test_a_recipe_is_a_mapping_with_a_base():
    recipe = load_recipe({"base": "pix2pix-cpu", "name": "small", "generator": {"width": 4}})
    base = load_recipe("pix2pix-cpu")
    assert (recipe.name, recipe.terms) == ("small", base.terms)
    assert recipe.generator == base.generator | {"width": 4}
    assert choose_recipe({"base": "pix2pix-cpu", "name": "small"}).recipe.name == "small"
    with pytest.raises(InputError, match=r"'base' names another recipe, which tomostain.load_recipe reads"):
        Recipe.from_dict({"base": "pix2pix-cpu", "name": "x"})
