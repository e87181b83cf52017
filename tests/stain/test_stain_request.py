"""The request: adding an option takes two files; older names work; arrays and open objects are accepted."""

import dataclasses
import inspect
import signal
import typing

import numpy as np
import pytest

from tests.support.toys import LEVELS, RESNET, colours, contents, grey_values, toy_model
from tomostain.cli.options import expanded
from tomostain.cli.stain import stain as verb
from tomostain.errors import InputError, InterruptedRunError, OutOfDistributionWarning
from tomostain.imaging.intensity import normalise_ct
from tomostain.io import Volume, load_model, open_stained, write_image, write_stack
from tomostain.stain import (
    StainConfig,
    StainJob,
    StainOptions,
    StainRequest,
    load_stainer,
    load_translator,
    plan,
    stain,
    stain_on_workers,
    stain_slice,
    stain_volume,
)
from tomostain.stain.request import RENAMED

SHAPE = (11, 36, 41)
CONFIG = StainConfig(patch_px=32, stride_px=16, z_chunk=4)
# Fields of the request without an option of the same name, with the reason.
NOT_OPTIONS = {
    "intensity": "three options: --background, --bone, --normalised",
    "resume": "the command always resumes",
    "may_fall_back": "set where the precision is resolved, not by the user",
}
# Settings that are only in the YAML of --config, with the reason.
NOT_SETTINGS = {"batch": "decides memory only", "z_chunk": "decides memory and the unit of resuming only"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes") / "volume"
    write_stack(folder, grey_values(SHAPE), voxel_um=5.0)
    return folder


def test_a_loaded_model_is_shown_in_one_line_without_weights(model):
    stainer = load_stainer(model, device="cpu")
    facts = "stain h&e, test, 0 steps, 5 µm"
    assert repr(stainer).startswith(f"Stainer({facts}, float32, cpu, hash ")
    assert repr(stainer.translator) == repr(stainer).replace("Stainer", "Translator")
    assert repr(load_model(model)).startswith(f"Model({str(model)!r}, {facts}, hash ")


@pytest.mark.parametrize("name", ["background", "bone"])
def test_a_grey_value_as_a_keyword_points_to_intensity(name):
    with pytest.raises(TypeError, match=rf"keyword argument '{name}'; .*`intensity=tomostain.IntensityReference\("):
        stain_volume("model", "volume", **{name: 1.0})


def test_an_option_is_a_field_of_the_request_and_an_option_of_the_command():
    fields = {field.name for field in dataclasses.fields(StainRequest)}
    parameters = set(inspect.signature(expanded(verb)).parameters)
    assert fields - parameters == set(NOT_OPTIONS)
    assert set(StainConfig.model_fields) - parameters == set(NOT_SETTINGS)
    keywords = set(typing.get_type_hints(StainOptions))
    assert keywords - set(RENAMED) == fields - {"model", "volume", "out", "may_fall_back"}
    assert set(RENAMED.values()) <= fields


def test_no_function_of_staining_lists_the_options_again():
    import tomostain.stain as package

    for name in package.__all__:
        function = getattr(package, name)
        if inspect.isfunction(function):
            assert len(inspect.signature(function).parameters) <= 7, name


@pytest.mark.parametrize(("older", "current"), [(None, "auto"), ("none", "normalised")])
def test_older_values_of_the_intensity_work(older, current):
    assert StainRequest("model", "volume", "out", intensity=older).intensity == current


def test_older_names_give_the_same_bits_and_warn(model, volume, tmp_path):
    expected = stain_volume(model, volume, tmp_path / "a.ome.zarr", config=CONFIG, intensity=LEVELS)
    with pytest.warns(DeprecationWarning, match="`slab` is now `z_chunk`"):
        config = StainConfig(patch_px=32, stride_px=16, slab=4)
    assert config == CONFIG
    with pytest.warns(DeprecationWarning, match="`levels` is now `intensity`"):
        stained = stain_volume(model, volume, tmp_path / "b.ome.zarr", config=config, levels=LEVELS)
    np.testing.assert_array_equal(colours(stained), colours(expected))
    with pytest.warns(DeprecationWarning, match="z_chunk"):
        assert config.slab == 4


def test_a_volume_of_an_older_version_is_continued(model, volume, tmp_path):
    # Older versions call z_chunk slab and the intensity levels; these names are part of the format.
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", config=CONFIG, intensity=LEVELS)
    provenance = open_stained(out).provenance
    assert list(provenance) == [
        "model",
        "input",
        "levels",
        "grey_distance",
        "new_share",
        "options",
        "tomostain_version",
    ]
    assert provenance["options"]["slab"] == 4
    assert "z_chunk" not in provenance["options"]
    assert provenance["levels"] == {"background": 100.0, "bone": 900.0}


def test_open_objects_give_the_same_bits_as_paths(model, volume, tmp_path):
    expected = stain_volume(model, volume, tmp_path / "a" / "out.ome.zarr", config=CONFIG, intensity=LEVELS)
    stainer = load_stainer(model, device="cpu", config=CONFIG)
    array = Volume.from_array(grey_values(SHAPE), voxel_um=5.0, name="volume")
    for number, loaded in enumerate((stainer, stainer.translator, str(model))):
        out = str(tmp_path / str(number) / "out.ome.zarr")
        request = StainRequest(loaded, array, out, config=CONFIG, intensity=LEVELS)
        assert contents(stain(request)) == contents(expected)
        assert plan(request).shape == SHAPE


@pytest.mark.parametrize("options", [{}, {"planes": "zyx"}, {"gaussian_sigma": 1.0}, {"statistics": "volume"}])
def test_without_an_output_the_result_is_the_same_array(model, volume, tmp_path, options):
    config = CONFIG.model_copy(update=options)
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    np.testing.assert_array_equal(stain_volume(model, volume, config=config, intensity=LEVELS), colours(out))


def test_a_stainer_stains_slices_and_volumes(model):
    ct, stainer = grey_values(SHAPE), load_stainer(model, device="cpu", config=CONFIG)
    translator, reports = load_translator(model, "cpu"), []
    expected = np.stack([stain_slice(translator, each, CONFIG) for each in normalise_ct(ct, LEVELS)])
    stained = stainer(ct, intensity=LEVELS, progress=lambda *report: reports.append(report))
    np.testing.assert_array_equal(stained, expected)
    assert reports[-1] == ("staining", 11, 11)
    np.testing.assert_array_equal(stainer(ct[3], intensity=LEVELS), expected[3])
    for stated in (Volume.from_array(ct, voxel_um=5), (ct, 5)):
        np.testing.assert_array_equal(stainer(stated, intensity=LEVELS), expected)
    for other in (Volume.from_array(ct, voxel_um=7), (ct, 7)):
        with pytest.raises(
            InputError, match=r"7 x 7 µm, but .* 5 µm; resample it with `tomostain\.resample_volume\(volume, 5\)`"
        ):
            stainer(other, intensity=LEVELS)
    np.testing.assert_array_equal(stainer(normalise_ct(ct, LEVELS)[3], intensity="normalised"), expected[3])
    assert stainer.voxel_um == 5.0
    with pytest.raises(InputError, match="scan: has 4 axes; expected"):
        stainer(ct[None], source="scan")


def test_a_stainer_of_several_slices_warns_of_a_single_one(tmp_path):
    model = toy_model(tmp_path / "model", RESNET | {"in_channels": 3}, in_channels=3, ct_slices=3)
    stainer, ct = load_stainer(model, device="cpu", config=CONFIG), grey_values(SHAPE)
    assert stainer(ct, intensity=LEVELS).shape == (*SHAPE, 3)
    with pytest.warns(OutOfDistributionWarning, match="the model sees 3 neighbouring slices"):
        assert stainer(ct[0], intensity=LEVELS).shape == (*SHAPE[1:], 3)


def test_a_stainer_is_cancelled_by_should_stop_or_by_an_exception_of_progress(model):
    ct, stainer = grey_values(SHAPE), load_stainer(model, device="cpu", config=CONFIG)
    with pytest.raises(InterruptedRunError, match="scan"):
        stainer(ct, intensity=LEVELS, should_stop=lambda: True, source="scan")

    def fail(label, done, total):
        if done == 2:
            raise KeyError(label)

    with pytest.raises(KeyError, match="staining"):
        stainer(ct, intensity=LEVELS, progress=fail)


def test_a_library_call_does_not_change_signal_handlers(model, volume):
    handlers = []
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def look(label, done, total):
        handlers.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))

    stain_volume(model, volume, config=CONFIG, intensity=LEVELS, progress=look)
    assert set(handlers) == {before}


def test_the_volume_is_fingerprinted_once(model, volume, tmp_path, monkeypatch):
    calls = []
    fingerprint = Volume.fingerprint
    monkeypatch.setattr(Volume, "fingerprint", lambda self: calls.append(self) or fingerprint(self))
    config = CONFIG.model_copy(update={"planes": "zyx", "statistics": "volume"})
    stain_volume(model, volume, tmp_path / "a.ome.zarr", config=config, intensity=LEVELS)
    assert len(calls) == 1
    other = toy_model(tmp_path / "other", seed=1)
    stain_volume(
        model,
        volume,
        tmp_path / "b.ome.zarr",
        config=CONFIG,
        intensity=LEVELS,
        uncertainty=tmp_path / "u.ome.zarr",
        ensemble=[other],
    )
    assert len(calls) == 2
    StainJob.open(StainRequest(model, volume, config=CONFIG, intensity=LEVELS))
    assert len(calls) == 2


def test_options_that_exclude_one_another_are_named(model, volume, tmp_path):
    array = Volume.from_array(grey_values(SHAPE), voxel_um=5.0)
    with pytest.raises(InputError, match=r"`uncertainty`: .*give `out`"):
        StainRequest(model, volume, uncertainty=tmp_path / "u")
    with pytest.raises(InputError, match="`out` is missing"):
        stain(StainRequest(model, volume, intensity=LEVELS))
    with pytest.raises(InputError, match="`part`: several processes can only share a volume on disk"):
        stain_volume(model, volume, part=(1, 2))
    with pytest.raises(InputError, match="`voxel_um` and `dataset` are for files"):
        stain_volume(model, array, voxel_um=5.0)
    with pytest.raises(InputError, match="`volume`: workers need a path"):
        stain_on_workers(StainRequest(model, array, tmp_path / "out"))
    translator = load_translator(model, "cpu")
    with pytest.raises(InputError, match="precision bfloat16: the model is loaded with float32"):
        stain_volume(translator, array, config=CONFIG.model_copy(update={"precision": "bfloat16"}))
    write_image(tmp_path / "slice.tif", grey_values(SHAPE)[0])
    from tomostain.stain import stain_image

    with pytest.raises(InputError, match="`dataset`: is for volumes"):
        stain_image(model, tmp_path / "slice.tif", tmp_path / "out.png", dataset="data")
