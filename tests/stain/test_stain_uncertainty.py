"""An uncertainty volume next to the stained one: its values, resuming, and refused requests."""

import numpy as np
import pytest
import torch

from tomostain import __version__
from tomostain.cli.main import run
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError, InterruptedRunError, OutOfDistributionWarning
from tomostain.io import ModelSpec, open_stained, save_model, write_stack
from tomostain.networks.build import build_network
from tomostain.ood.novelty import novelty, training_reference
from tomostain.stain import StainConfig, StainRequest, load_translator, stain_slice, stain_volume
from tomostain.stain.uncertainty import FULL_SCALE, cycle_error
from tomostain.stain.uncertainty_map import load_ensemble

SMALL = {"patch_px": 32, "stride_px": 16}
NETWORK = {"name": "resnet", "in_channels": 1, "width": 2, "blocks": 1}


def make_model(folder, seed, way_back=False, seen=None, **changes):
    """Write a model of random weights, bright enough to be distinguished, with its record of the training data."""
    draws = torch.Generator().manual_seed(seed)
    reverse = {**NETWORK, "in_channels": 3, "out_channels": 1} if way_back else None
    states = []
    for spec in filter(None, (NETWORK, reverse)):
        built = build_network(spec, draws)
        for parameter in built.parameters():
            parameter.data *= 5
        states.append(built.state_dict())
    about = {"voxel_um": 5.0, "stain": "h&e", "recipe": "test", "tomostain_version": __version__, **changes}
    save_model(
        folder, ModelSpec(generator=NETWORK, reverse=reverse, in_channels=1, **about), *states, training_reference=seen
    )
    return folder


@pytest.fixture
def scan(tmp_path):
    values = np.random.default_rng(0).integers(8000, 32000, (7, 40, 36)).astype(np.uint16)
    write_stack(tmp_path / "volume", values, voxel_um=5.0)
    return values


def read(path):
    opened = open_stained(path)
    return opened.read(0, opened.shape[0])


def staining(tmp_path, model, **options):
    settings = {"config": StainConfig(**SMALL, z_chunk=3), "intensity": "normalised", "device": "cpu", **options}
    return stain_volume(model, tmp_path / "volume", tmp_path / "out.ome.zarr", **settings)


def test_an_ensemble_is_uncertain_where_its_colours_differ(tmp_path, scan):
    models = [make_model(tmp_path / name, seed) for seed, name in enumerate("abc")]
    out = staining(tmp_path, models[0], uncertainty=tmp_path / "uncertainty.ome.zarr", ensemble=models[1:])
    drawn = [
        np.stack([stain_slice(load_translator(m, "cpu"), s.astype(np.float32), StainConfig(**SMALL)) for s in scan])
        for m in models
    ]
    np.testing.assert_array_equal(read(out), drawn[0])
    # Numpy's own standard deviation over the models, white at the full scale.
    apart = np.std(np.array(drawn, dtype=np.float64), axis=0).mean(axis=-1)
    expected = 255 * np.clip(apart / FULL_SCALE["disagreement"], 0, 1)
    colours = read(tmp_path / "uncertainty.ome.zarr")
    assert np.abs(colours - expected[..., None]).max() <= 0.501
    assert colours.std() > 2
    about = open_stained(tmp_path / "uncertainty.ome.zarr").provenance["doubt"]
    assert (about["map"], about["white"], len(about["models"])) == ("disagreement", {"disagreement": 64.0}, 3)


def remembered(values):
    """Return the record that training on these slices stores."""
    pairs = [
        Pair(f"p{i}", ct, np.zeros((*ct.shape, 3), np.uint8), np.ones(ct.shape, bool), 5.0)
        for i, ct in enumerate(values)
    ]
    return training_reference(pairs)


def test_models_with_a_training_reference_are_uncertain_about_unseen_texture(tmp_path, scan):
    # They saw slices like these, but nothing bright and flat, such as the middle of the last slice.
    seen = remembered(scan)
    scan[6, 10:30, 8:28] = 38000
    write_stack(tmp_path / "new", scan, voxel_um=5.0)
    model = make_model(tmp_path / "a", 0, seen=seen.to_arrays())
    settings = {"config": StainConfig(**SMALL, z_chunk=3), "intensity": "normalised", "device": "cpu"}
    with pytest.warns(OutOfDistributionWarning, match="of this volume is unlike the training data"):
        stain_volume(
            model, tmp_path / "new", tmp_path / "out.zarr", uncertainty=tmp_path / "uncertainty.zarr", **settings
        )
    values = read(tmp_path / "uncertainty.zarr")[..., 0]
    expected = 255 * np.clip(np.stack([novelty(s, seen) for s in scan]) - 1, 0, 1)
    assert np.abs(values - expected).max() <= 0.501
    assert values[6, 16:24, 14:22].min() > 200
    assert np.median(values[:6]) < 30
    about = open_stained(tmp_path / "uncertainty.zarr").provenance
    assert about["doubt"]["map"] == "novelty"
    assert about["new_share"] > 0.05


def test_the_uncertainty_of_an_ensemble_is_the_larger_of_both(tmp_path, scan):
    seen = remembered(scan)
    scan[6] = 38000
    write_stack(tmp_path / "volume", scan, voxel_um=5.0, overwrite=True)
    models = [make_model(tmp_path / name, seed, seen=seen.to_arrays()) for seed, name in enumerate("ab")]
    with pytest.warns(OutOfDistributionWarning):
        staining(tmp_path, models[0], uncertainty=tmp_path / "uncertainty.zarr", ensemble=models[1:])
    config = StainConfig(**SMALL)
    drawn = [np.stack([stain_slice(load_translator(m, "cpu"), s, config) for s in scan]).astype(float) for m in models]
    apart = np.std(drawn, axis=0).mean(axis=-1) / FULL_SCALE["disagreement"]
    new = np.stack([novelty(s, seen) for s in scan]) - 1
    expected = 255 * np.clip(np.maximum(apart, new), 0, 1)
    assert np.abs(read(tmp_path / "uncertainty.zarr")[..., 0] - expected).max() <= 0.501
    assert (apart > new).any()
    assert (apart < new).any()


def test_one_model_is_uncertain_by_its_reverse_generator(tmp_path, scan):
    model = make_model(tmp_path / "a", 0, way_back=True)
    staining(tmp_path, model, uncertainty=tmp_path / "uncertainty.ome.zarr")
    translator = load_translator(model, "cpu", reverse=True)
    error = np.stack([cycle_error(translator, s.astype(np.float32), StainConfig(**SMALL)) for s in scan])
    values = read(tmp_path / "uncertainty.ome.zarr")[..., 0]
    assert np.abs(values - 255 * np.clip(error, 0, 1)).max() <= 0.501
    assert open_stained(tmp_path / "uncertainty.ome.zarr").provenance["doubt"]["map"] == "cycle error"


def test_uncertainty_can_be_added_later_and_interrupted(tmp_path, scan):
    models = [make_model(tmp_path / name, seed) for seed, name in enumerate("ab")]
    whole = {"uncertainty": tmp_path / "uncertainty.ome.zarr", "ensemble": models[1:]}
    plain = read(staining(tmp_path, models[0]))

    reports = []
    with pytest.raises(InterruptedRunError):
        staining(
            tmp_path,
            models[0],
            progress=lambda stage, done, total: reports.append((stage, done)),
            should_stop=lambda: ("staining", 4) in reports,
            **whole,
        )
    assert len(staining(tmp_path, models[0], **whole).name)
    np.testing.assert_array_equal(read(tmp_path / "out.ome.zarr"), plain)
    broken = read(tmp_path / "uncertainty.ome.zarr")
    staining(tmp_path, models[0], overwrite=True, **whole)
    np.testing.assert_array_equal(read(tmp_path / "uncertainty.ome.zarr"), broken)


def requested(model, ensemble):
    return StainRequest(model, "volume", "out", uncertainty="map", ensemble=ensemble, device="cpu")


def test_inputs_without_a_map_are_refused(tmp_path, scan):
    model = make_model(tmp_path / "a", 0)
    with pytest.raises(
        InputError,
        match=r"neither a training reference nor a reverse generator.*name models of other folds with `ensemble`",
    ):
        staining(tmp_path, model, uncertainty=tmp_path / "uncertainty.ome.zarr")
    with pytest.raises(InputError, match="is the same model as"):
        load_ensemble(requested(model, [model]))
    other = make_model(tmp_path / "b", 1, stain="toluidine-blue")
    with pytest.raises(InputError, match=r"stains toluidine-blue at 5 µm, .* h&e at 5 µm"):
        load_ensemble(requested(model, [other]))
    with pytest.raises(InputError, match=r"`ensemble`: .*give its path with `uncertainty`"):
        staining(tmp_path, model, ensemble=[other])
    with pytest.raises(InputError, match="is the path of the stained volume"):
        staining(tmp_path, model, uncertainty=tmp_path / "out.ome.zarr", ensemble=[other])
    assert not (tmp_path / "out.ome.zarr").exists()


def test_the_command_writes_both(tmp_path, scan, capsys):
    a, b = (make_model(tmp_path / name, seed) for seed, name in enumerate("ab"))
    out, map_path = tmp_path / "out.ome.zarr", tmp_path / "uncertainty.ome.zarr"
    size = ["--patch-px", "32", "--stride-px", "32", "--device", "cpu"]
    command = ["stain", a, tmp_path / "volume", out, "--uncertainty", map_path, "--ensemble", b, "--normalised", *size]
    assert run([*map(str, command)]) == 0
    assert "uncertainty: " in capsys.readouterr().out
    assert read(map_path).shape == read(out).shape == (*scan.shape, 3)
    assert run(["stain", str(a), "slice.png", "out.png", "--ensemble", str(b)]) == 2


def test_the_command_ends_with_the_novel_share(tmp_path, scan, capsys):
    size = ["--patch-px", "32", "--stride-px", "32", "--device", "cpu", "--normalised"]
    for name, seen in (("knows", remembered(scan).to_arrays()), ("older", None)):
        model, out = make_model(tmp_path / name, 0, seen=seen), tmp_path / f"{name}.ome.zarr"
        assert run([*map(str, ["stain", model, tmp_path / "volume", out]), *size]) == 0
        output = capsys.readouterr().out
        assert ("of this volume is unlike the training data\n" in output) == (seen is not None)
        share = open_stained(out).provenance["new_share"]
        assert (share is None) == (seen is None)


def test_older_option_names_warn_and_do_the_same(tmp_path, scan, capsys):
    a, b = (make_model(tmp_path / name, seed) for seed, name in enumerate("ab"))
    with pytest.warns(DeprecationWarning, match="`doubt` is now `uncertainty`"):
        staining(tmp_path, a, doubt=tmp_path / "uncertainty.ome.zarr", also=[b])
    expected = read(tmp_path / "uncertainty.ome.zarr")
    size = ["--patch-px", "32", "--stride-px", "32", "--device", "cpu"]
    words = ["stain", a, tmp_path / "volume", tmp_path / "o.ome.zarr", "--doubt", tmp_path / "m.ome.zarr", "--also", b]
    capsys.readouterr()
    assert run([*map(str, words), "--normalised", *size]) == 0
    output = capsys.readouterr().err
    assert "warning: --doubt is now --uncertainty" in output
    assert "warning: --also is now --ensemble" in output
    np.testing.assert_array_equal(read(tmp_path / "m.ome.zarr"), expected)


def test_every_full_scale_is_a_power_of_two_so_that_a_division_rounds_as_on_a_gpu():
    assert all(np.frexp(scale)[0] == 0.5 for scale in FULL_SCALE.values())
