"""How much goes through the network at once on a GPU, from its free memory; and the runner of networks."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.toys import LEVELS, RESNET, grey_values, toy_model, weights_of
from tomostain.io import Volume
from tomostain.stain import StainConfig, StainJob, Translator, load_translator, plan_volume, stain_slice
from tomostain.stain.pass_size import MAX_BATCH_PX, PassSize, affordable_px, pass_size
from tomostain.stain.runner import NetworkRunner
from tomostain.stain.volume_statistics import VolumeNorm, fit_volume_statistics, with_volume_norms

CHANNEL = RESNET | {"norm": "channel"}
SLICE = (1024, 1024)


@pytest.fixture
def exact(tmp_path: Path) -> Translator:
    """Return a translator with exact tiles."""
    return load_translator(toy_model(tmp_path / "exact", CHANNEL), "cpu")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let `pass_size` see a GPU with this memory, bytes."""
    memory = [80 * 10**9]
    monkeypatch.setattr("tomostain.stain.pass_size.free_gpu_memory", lambda _: memory[0])
    return memory


def _on_gpu(translator: Translator) -> Translator:
    return replace(translator, device=torch.device("cuda"))


def test_a_cpu_stains_one_slice_with_the_batch_of_the_configuration(exact: Translator) -> None:
    tiled = StainConfig().for_model(256, tile_invariant=True)
    assert pass_size(exact, tiled, SLICE, 16) == PassSize(1, 1024)
    assert pass_size(exact, StainConfig(batch=7).for_model(256), SLICE, 16) == PassSize(1, patches=7)


def test_a_gpu_takes_whole_slices_while_its_memory_allows(exact: Translator, gpu: list[int]) -> None:
    exact, tiled = _on_gpu(exact), StainConfig().for_model(256, tile_invariant=True)
    size = pass_size(exact, tiled, SLICE, 16)
    assert (size.slices, size.tile_px) == (MAX_BATCH_PX // 1024**2, 1024)
    whole = pass_size(exact, tiled, (1500, 3000), 16)
    assert (whole.slices, whole.tile_px) == (1, 3000)
    assert pass_size(exact, tiled, (100, 120), 3).slices == 3
    stated = StainConfig(patch_px=256).for_model(256, tile_invariant=True)
    assert pass_size(exact, stated, SLICE, 64).tile_px == 256
    gpu[0] = 32 * 1024**2  # half of it for 32 bytes a pixel: 512 x 1024 px
    small = pass_size(exact, tiled, SLICE, 16)
    assert small.slices == 1
    assert small.tile_px == 724
    assert small.tile_px % 4 == 0
    half = replace(exact, precision="float16")
    assert affordable_px(half) == 2 * affordable_px(exact) == 1024**2
    assert pass_size(half, tiled, SLICE, 16).tile_px == 1024
    gpu[0] = 0
    assert pass_size(exact, tiled, SLICE, 16).tile_px < 128


def test_a_gpu_takes_many_patches_but_not_more_than_stated(exact: Translator, gpu: list[int]) -> None:
    exact = _on_gpu(exact)
    size = pass_size(exact, StainConfig(stride_px=64).for_model(256, tile_invariant=True), SLICE, 100)
    assert (size.slices, size.patches) == (100, MAX_BATCH_PX // 256**2)
    size = pass_size(exact, StainConfig(stride_px=64, batch=4).for_model(256), SLICE, 16)
    assert (size.slices, size.patches) == (4, 4)
    gpu[0] = 1
    assert pass_size(exact, StainConfig(stride_px=64).for_model(256), SLICE, 16) == PassSize(1, patches=1)


def test_a_size_is_halved_until_it_is_smallest() -> None:
    sizes, size = [], PassSize(4, 1024, min_tile_px=300)
    while size is not None:
        sizes.append((size.slices, size.tile_px))
        size = size.halved()
    assert sizes == [(4, 1024), (2, 1024), (1, 1024), (1, 512)]
    assert PassSize(8, patches=9).halved() == PassSize(4, patches=4)
    assert PassSize(1, patches=1).halved() is None


def test_a_dry_run_of_whole_chunks_states_the_memory_of_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StainJob, "is_batched", True)
    volume = Volume.from_array(grey_values((6, 40, 44)), voxel_um=5.0, name="array")
    options: dict[str, Any] = {"intensity": LEVELS, "device": "cpu", "config": StainConfig(z_chunk=4)}
    plan = plan_volume(toy_model(tmp_path / "model", CHANNEL), volume, tmp_path / "out.ome.zarr", **options)
    assert 0 < plan.seconds < 60
    assert plan.gpu_bytes == 0
    text = str(replace(plan, device="cuda", precision="float16", gpu_bytes=3_000_000_000))
    assert "device:      cuda, float16\n" in text
    assert "GPU memory:  about 3.0 GB\n" in text


def test_layers_that_do_not_run_are_replaced_by_those_of_torch(
    exact: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("Failed to find C compiler.\nSpecify one.")

    ct = grey_values((40, 44)) * 30
    expected = stain_slice(exact, ct)
    monkeypatch.setattr("tomostain.stain.runner.accelerate_cuda", lambda *_, **__: Failing())
    running = replace(exact, runner=NetworkRunner())
    with pytest.warns(UserWarning, match=r"do not run on this GPU \(Failed to find C compiler\.\); torch's are used"):
        np.testing.assert_array_equal(stain_slice(running, ct), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(stain_slice(running, ct), expected)
    np.testing.assert_array_equal(stain_slice(replace(exact, runner=NetworkRunner(fused=False)), ct), expected)


def test_a_network_that_does_not_allow_fused_layers_runs_as_it_is(
    exact: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = grey_values((40, 44)) * 30
    expected = stain_slice(exact, ct)
    monkeypatch.setattr("tomostain.stain.runner.accelerate_cuda", lambda *_, **__: pytest.fail("the network is fused"))
    monkeypatch.setattr(type(exact.network), "fusable", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(stain_slice(replace(exact, runner=NetworkRunner()), ct), expected)


def test_a_network_is_fused_after_the_statistics_of_a_volume_are_fixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        "tomostain.stain.runner.accelerate_cuda", lambda network, **options: seen.append(options) or network
    )
    translator = replace(load_translator(toy_model(tmp_path / "model", RESNET), "cpu"), runner=NetworkRunner())
    tiles = (grey_values((3, 64, 64)) * 30).astype(np.float32)
    fitted = fit_volume_statistics(translator, tiles)
    assert not seen
    plain = fit_volume_statistics(replace(translator, runner=None), tiles)
    ct, config = grey_values((40, 44)) * 30, StainConfig(statistics="volume")
    np.testing.assert_array_equal(stain_slice(fitted, ct, config), stain_slice(plain, ct, config))
    assert seen == [{"frozen": True}]


def test_float32_is_not_rounded_to_tf32_while_a_network_runs() -> None:
    modes = []

    class Watching(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            modes.append((images.dtype, torch.backends.cudnn.allow_tf32))
            return images

    runner, network, before = NetworkRunner(fused=False), Watching(), torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        for dtype in (torch.float32, torch.float16):
            runner(network, torch.zeros(1, 1, 8, 8, dtype=dtype))
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert modes == [(torch.float32, False), (torch.float16, True)]


def test_fixed_statistics_are_on_the_device_of_the_network() -> None:
    network = weights_of(RESNET).to("meta")
    norms = [layer for layer in with_volume_norms(network).modules() if isinstance(layer, VolumeNorm)]
    assert norms
    assert {value.device.type for layer in norms for value in layer.buffers()} == {"meta"}
