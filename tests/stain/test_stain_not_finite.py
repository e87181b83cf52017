"""Numbers that are not finite never become a picture: broken weights, overflow, and grey values."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.toys import LEVELS, RESNET, grey_values, toy_model, weights_of
from tomostain.errors import InputError
from tomostain.imaging.network_range import ct_from_network, histology_from_network
from tomostain.io import load_model, write_stack
from tomostain.io.checksums import format_sums, read_sums, sha256
from tomostain.stain import StainConfig, load_stainer, load_translator, stain_slice, stain_volume
from tomostain.stain.uncertainty import combined
from tomostain.stain.uncertainty_map import uncertainty_map

CONFIG = StainConfig(patch_px=32, stride_px=16, z_chunk=3)


def _broken(model: Path, factor: float) -> Path:
    """Multiply all weights of a model by a factor, and make its checksums fit."""
    weights = load_file(model / "generator.safetensors")
    save_file({name: tensor * factor for name, tensor in weights.items()}, model / "generator.safetensors")
    sums = read_sums(model / "SHA256SUMS")
    (model / "SHA256SUMS").write_text(format_sums({name: sha256(model / name) for name in sums}))
    return model


@pytest.mark.parametrize("factor", [np.nan, np.inf, 1e30, 1e10])
def test_a_model_of_broken_weights_is_not_loaded(tmp_path: Path, factor: float) -> None:
    model = _broken(toy_model(tmp_path / "model"), factor)
    with pytest.raises(InputError, match=r"generator\.safetensors: tensor '.*(not finite|holds)"):
        load_model(model)


@pytest.mark.parametrize("statistics", ["tile", "volume"])
@pytest.mark.parametrize("factor", [1e30, np.nan])
def test_weights_that_are_not_finite_give_no_volume(tmp_path: Path, statistics: str, factor: float) -> None:
    model = _broken(toy_model(tmp_path / "model"), factor)
    write_stack(tmp_path / "volume", grey_values((4, 40, 40)), voxel_um=5.0)
    config = StainConfig(patch_px=32, z_chunk=2, statistics=statistics)
    with pytest.raises(InputError, match="model is broken"):
        stain_volume(model, tmp_path / "volume", tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    assert not (tmp_path / "out.ome.zarr").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("blend", ["mean", "exact"])
def test_a_network_output_that_is_not_finite_is_an_error(tmp_path: Path, value: float, blend: str) -> None:
    translator = load_translator(toy_model(tmp_path / "model", RESNET | {"norm": "none"}))

    class Overflowing(torch.nn.Module):
        size_multiple, min_size_px = translator.network.size_multiple, translator.network.min_size_px

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            drawn = translator.network(image)
            drawn[..., 3, 5] = value
            return drawn

    broken = replace(translator, network=Overflowing())
    config = StainConfig(patch_px=32, blend=blend)
    with pytest.raises(InputError, match=r"slice 0 along z: output of the network: \d+ of 3072 values are not finite"):
        stain_slice(broken, np.full((32, 32), 20000, np.uint16), config)


def test_statistics_of_a_volume_that_overflow_are_an_error(tmp_path: Path) -> None:
    model = toy_model(tmp_path / "model")
    translator = load_translator(model)
    with torch.no_grad():
        for parameter in translator.network.parameters():
            parameter.mul_(1e25)
    config = StainConfig(patch_px=32, statistics="volume")
    with pytest.raises(InputError, match=r"statistics 'volume': .* values are not finite"):
        stain_slice(translator, grey_values((40, 40)) * 30, config)


def test_infinity_is_not_clipped_to_a_colour() -> None:
    for function in (histology_from_network, ct_from_network):
        for values in (np.array([np.inf, -np.inf, 0.5]), torch.tensor([torch.inf, -torch.inf, 0.5])):
            assert [bool(np.isfinite(float(x))) for x in function(values)] == [False, False, True]


def test_an_uncertainty_that_is_not_finite_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    novelty = np.full((32, 32), np.nan, np.float32)
    assert np.isnan(combined(None, novelty)).all()
    translator = load_translator(toy_model(tmp_path / "model"))
    monkeypatch.setattr("tomostain.stain.uncertainty_map.cycle_error", lambda *_: novelty)
    with pytest.raises(InputError, match="uncertainty: 1024 of 1024 values are not finite"):
        uncertainty_map([translator], np.zeros((32, 32), np.uint16), np.zeros((32, 32, 3), np.uint8), CONFIG)


@pytest.mark.parametrize("intensity", [LEVELS, "auto", "normalised"])
def test_grey_values_that_are_not_finite_are_an_error(tmp_path: Path, intensity: object) -> None:
    stainer = load_stainer(toy_model(tmp_path / "model"), config=CONFIG)
    ct = grey_values((40, 40)).astype(np.float32)
    ct[3, 4] = np.inf
    with pytest.raises(InputError, match=r"array: grey values: 1 of 1600 values are not finite"):
        stainer(ct, intensity=intensity)


def test_the_weights_of_the_toy_are_usual() -> None:
    assert max(float(p.detach().abs().max()) for p in weights_of(RESNET).parameters()) < 10
