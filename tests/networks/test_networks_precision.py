"""Half precision: close to the picture of float32; refused, or with a warning, where it is not faster."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.toys import LEVELS, RESNET, colours, grey_values, toy_model, weights_of
from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.io import open_stained, write_stack
from tomostain.networks import precision as precisions
from tomostain.networks.kernels import put_channels_last
from tomostain.networks.kernels.instance_norm import PixelwiseInstanceNorm2d
from tomostain.networks.precision import resolve_precision, with_precision
from tomostain.stain import StainConfig, load_translator, stain_volume
from tomostain.stain.volume_statistics import fit_volume_statistics

CPU = torch.device("cpu")
UNET = {"name": "unet", "in_channels": 1, "width": 4, "downs": 2, "detail": 3, "norm": "channel"}
# The maximum relative rounding error of a value.
ROUNDING = {"bfloat16": 2**-8, "float16": 2**-11}


def capable(monkeypatch, **able):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)


def patches(count=2, side=48):
    return torch.from_numpy(8000 + 24 * grey_values((count, side, side)).astype(np.float32))


@pytest.mark.parametrize("network", [RESNET, UNET], ids=["resnet", "unet"])
def test_bfloat16_draws_nearly_the_same_picture(tmp_path, monkeypatch, network):
    capable(monkeypatch, amx_bf16=True)
    folder = toy_model(tmp_path / "model", network)
    expected = load_translator(folder, "cpu")(patches())
    actual = load_translator(folder, "cpu", precision="bfloat16")(patches())
    assert actual.dtype == torch.float32
    assert actual.is_contiguous()
    away = (actual - expected).abs()
    assert expected.std() > 5
    assert 0 < away.mean() < 1  # grey levels
    assert away.max() < 10


@pytest.mark.parametrize("precision", ROUNDING)
def test_normalisation_computes_in_single_precision(precision):
    dtype = getattr(torch, precision)
    image = (100 + torch.randn(2, 5, 40, 30, generator=torch.Generator().manual_seed(0))).to(dtype)
    last = image.contiguous(memory_format=torch.channels_last)
    actual, expected = PixelwiseInstanceNorm2d(5)(last), nn.InstanceNorm2d(5)(image.double())
    assert actual.dtype == dtype
    assert ((actual.double() - expected).abs() <= ROUNDING[precision] * expected.abs() * 1.01 + 1e-4).all()


def test_volume_statistics_are_taken_in_single_precision(tmp_path, monkeypatch):
    capable(monkeypatch, amx_bf16=True)
    folder = toy_model(tmp_path / "model")
    tiles = patches(4).numpy()
    pictures = [
        fit_volume_statistics(load_translator(folder, "cpu", precision=precision), tiles)(patches(1))
        for precision in ("float32", "bfloat16")
    ]
    assert 0 < (pictures[0] - pictures[1]).abs().mean() < 1


def test_a_network_with_channels_last_computes_the_same():
    image = torch.randn(1, 1, 32, 32)
    network = weights_of(RESNET)
    with torch.no_grad():
        expected = network(image)
        torch.testing.assert_close(put_channels_last(network)(image), expected, rtol=1e-4, atol=1e-5)


def test_float32_changes_nothing_and_a_cpu_is_asked_what_it_can(monkeypatch):
    network = weights_of(RESNET)
    assert with_precision(network, "float32", CPU) is network
    assert next(network.parameters()).dtype == torch.float32
    capable(monkeypatch)
    with pytest.raises(InputError, match=r"float16: this CPU .* use precision bfloat16 or float32, or a GPU"):
        with_precision(network, "float16", CPU)
    with pytest.warns(UserWarning, match="neither AMX nor AVX512-BF16"):
        assert next(with_precision(network, "bfloat16", CPU).parameters()).dtype == torch.bfloat16
    capable(monkeypatch, amx_fp16=True)
    assert next(with_precision(weights_of(RESNET), "float16", CPU).parameters()).dtype == torch.float16


def test_a_slow_precision_is_one_sentence_on_the_command_line(tmp_path, monkeypatch, capsys):
    capable(monkeypatch)
    models = [str(toy_model(tmp_path / name, UNET, seed)) for seed, name in enumerate(("a", "b"))]
    write_stack(tmp_path / "volume", grey_values((3, 32, 32)), voxel_um=5.0)
    paths = [str(tmp_path / name) for name in ("volume", "out.ome.zarr", "uncertainty.ome.zarr")]
    command = ["stain", models[0], *paths[:2], "--uncertainty", paths[2], "--ensemble", models[1]]
    assert run([*command, "--background", "100", "--bone", "900", "--precision", "bfloat16", "--device", "cpu"]) == 0
    shown = [line for line in capsys.readouterr().err.splitlines() if "arning" in line or "AVX512" in line]
    assert shown == [
        "warning: precision bfloat16: this CPU has neither AMX nor AVX512-BF16 and takes several times as long as with "
        "float32"
    ]


def test_a_stained_volume_states_its_precision_and_is_not_continued_with_another(tmp_path, monkeypatch, capsys):
    capable(monkeypatch, amx_bf16=True)
    model = toy_model(tmp_path / "model", UNET)
    write_stack(tmp_path / "volume", grey_values((3, 32, 32)), voxel_um=5.0)
    out = tmp_path / "stained.ome.zarr"
    config = StainConfig(precision="bfloat16")
    stain_volume(model, tmp_path / "volume", out, config=config, intensity=LEVELS, device="cpu")
    assert open_stained(out).provenance["options"]["precision"] == "bfloat16"
    plain = tmp_path / "plain.ome.zarr"
    stain_volume(model, tmp_path / "volume", plain, intensity=LEVELS, device="cpu")
    away = np.abs(colours(out).astype(int) - colours(plain))
    assert 0 < away.mean() < 0.5
    command = ["stain", str(model), str(tmp_path / "volume"), str(out), "--background", "100", "--bone", "900"]
    assert run([*command, "--precision", "float32"]) == 2
    assert "precision" in capsys.readouterr().err
    assert run([*command, "--precision", "half"]) == 2
    assert "bfloat16" in capsys.readouterr().err


@pytest.mark.parametrize(("capability", "expected"), [((6, 1), "float32"), ((7, 0), "float16"), ((9, 0), "float16")])
def test_auto_is_float16_on_gpus_that_compute_it_faster(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", torch.device("cuda")) == expected
    assert resolve_precision("float16", torch.device("cuda")) == "float16"
    assert resolve_precision("auto", CPU) == "float32"


def test_the_capabilities_of_a_cpu_are_known_to_torch_without_a_table_of_them(monkeypatch):
    # torch 2.6. Later versions have these functions too, but they read the table.
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for name, value in {"amx_fp16": False, "amx_tile": True, "avx512_bf16": True}.items():
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda value=value: value)
    assert precisions._cpu_capabilities() == {"amx_fp16": False, "amx_bf16": True, "avx512_bf16": True}
