"""Staining on a GPU: agreement with the CPU, batches, waits and copies, graphs, and values that are not finite."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.textures import pair, tissue
from tests.support.toys import LEVELS, colours, grey_values, toy_model, two_way_model, weights_of
from tomostain import __version__
from tomostain.errors import InputError
from tomostain.io import ModelSpec, Volume, open_stained, save_model
from tomostain.ood.neighbourhoods import neighbourhood_reference
from tomostain.ood.novelty import novelty, training_reference
from tomostain.ood.tensor_novelty import TensorNovelty
from tomostain.stain import StainConfig, Translator, load_translator, stain_slice, stain_volume
from tomostain.stain.pass_size import PassSize
from tomostain.stain.runner import NetworkRunner
from tomostain.stain.slice_stainer import SliceStainer
from tomostain.stain.uncertainty_stainer import UncertaintyStainer
from tomostain.tiling.noise import FIRST_SLICE, NoiseSpec

pytestmark = pytest.mark.gpu

CHANNEL = {"name": "unet", "in_channels": 1, "width": 16, "downs": 4, "norm": "channel"}
INSTANCE = {"name": "resnet", "in_channels": 1, "width": 16, "blocks": 2}
NETWORKS = pytest.mark.parametrize("network", [CHANNEL, INSTANCE], ids=["channel", "instance"])


def _volume(shape: tuple[int, int, int] = (10, 230, 300)) -> Volume:
    return Volume.from_array(grey_values(shape), voxel_um=5.0, name="array")


def _apart(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    return int(np.abs(first.astype(int) - second).max())


def _config(network: dict[str, Any], **changes: Any) -> StainConfig:
    overlapping = {} if network is CHANNEL else {"patch_px": 96, "stride_px": 48}
    return StainConfig(**{"z_chunk": 4} | overlapping | changes)


@NETWORKS
@pytest.mark.parametrize(("precision", "most"), [("float32", 1), ("float16", 3)])
def test_a_gpu_agrees_with_the_cpu(tmp_path: Path, network: dict[str, Any], precision: str, most: int) -> None:
    model, volume = toy_model(tmp_path / "model", network), _volume()
    expected = stain_volume(model, volume, config=_config(network), intensity=LEVELS, device="cpu")
    config = _config(network, precision=precision)
    assert expected.std() > 5
    assert _apart(stain_volume(model, volume, config=config, intensity=LEVELS, device="cuda"), expected) <= most


def test_slice_context_noise_statistics_and_axes_agree_with_the_cpu(tmp_path: Path) -> None:
    context = toy_model(
        tmp_path / "context", CHANNEL | {"in_channels": 4}, in_channels=1, ct_slices=3, noise=NoiseSpec(channels=1)
    )
    volume = _volume((40, 80, 70))
    for model, config in (
        (context, StainConfig(z_chunk=7, precision="float32")),
        (context, StainConfig(z_chunk=7, precision="float32", planes="zyx")),
        (toy_model(tmp_path / "model", INSTANCE), StainConfig(statistics="volume", precision="float32")),
    ):
        stained = [stain_volume(model, volume, config=config, intensity=LEVELS, device=d) for d in ("cpu", "cuda")]
        assert _apart(*stained) <= 1


def test_statistics_of_the_volume_are_stored_and_read_again(tmp_path: Path) -> None:
    model, volume = toy_model(tmp_path / "model", INSTANCE), _volume((6, 100, 110))
    config = StainConfig(z_chunk=2, statistics="volume")
    expected = stain_volume(model, volume, config=config, intensity=LEVELS, device="cpu")
    for part in ((1, 2), (2, 2)):
        out = tmp_path / "out.ome.zarr"
        stain_volume(model, volume, out, config=config, intensity=LEVELS, device="cuda", part=part)
    assert _apart(colours(tmp_path / "out.ome.zarr"), expected) <= 3


def test_the_uncertainty_agrees_with_the_cpu(tmp_path: Path) -> None:
    models = [toy_model(tmp_path / f"model{seed}", CHANNEL, seed) for seed in range(2)]
    volume = _volume((4, 80, 70))
    for precision, most in (("float32", 2), ("auto", 6)):
        maps = []
        for device in ("cpu", "cuda"):
            out, uncertainty = (tmp_path / f"{name}-{device}-{precision}.ome.zarr" for name in ("out", "uncertainty"))
            config = StainConfig(z_chunk=2, precision=precision)
            options: dict[str, Any] = {"ensemble": models[1:], "uncertainty": uncertainty, "intensity": LEVELS}
            stain_volume(models[0], volume, out, config=config, device=device, **options)
            maps.append(colours(uncertainty))
        assert maps[0].std() > 5
        assert _apart(*maps) <= most


def test_the_uncertainty_of_seeds_and_the_cycle_error_agree_with_the_cpu(tmp_path: Path) -> None:
    noise = NoiseSpec(channels=1)
    noisy = [
        toy_model(tmp_path / f"noisy{seed}", CHANNEL | {"in_channels": 2}, seed, in_channels=1, noise=noise)
        for seed in range(2)
    ]
    volume = _volume((5, 80, 70))
    for name, models, samples in (
        ("seeds", noisy, 3),
        ("cycle", [two_way_model(tmp_path / "model", CHANNEL)], 1),
    ):
        maps = []
        for device in ("cpu", "cuda"):
            out, uncertainty = (tmp_path / f"{kind}-{name}-{device}.ome.zarr" for kind in ("out", "uncertainty"))
            options: dict[str, Any] = {"ensemble": models[1:], "uncertainty": uncertainty, "noise_samples": samples}
            config = StainConfig(z_chunk=3, precision="float32")
            stain_volume(models[0], volume, out, config=config, device=device, intensity=LEVELS, **options)
            maps.append(colours(uncertainty))
        assert maps[0].std() > 5
        assert _apart(*maps) <= 2


def test_novelty_agrees_with_the_cpu(tmp_path: Path) -> None:
    references = [training_reference([pair(tissue(seed))]) for seed in range(2)] + [
        neighbourhood_reference([pair(tissue(3))])
    ]
    slices = np.stack([tissue(5), tissue(6, size=9.0), np.full((160, 192), 10000), tissue(7, noise=3000.0)])
    for reference in references:
        values = TensorNovelty([reference], torch.device("cuda"))(torch.from_numpy(slices.astype(np.float32)).cuda())
        expected = np.stack([novelty(ct, reference) for ct in slices])
        assert expected.max() > 1
        np.testing.assert_allclose(values.cpu().numpy(), expected, rtol=1e-4, atol=1e-5)
    # As a part of the map of a volume.
    model = toy_model(tmp_path / "model", CHANNEL, seen=references[0].to_arrays())
    volume, maps = _volume((5, 80, 70)), []
    for device in ("cpu", "cuda"):
        out, uncertainty = (tmp_path / f"{name}-{device}.ome.zarr" for name in ("out", "uncertainty"))
        config = StainConfig(z_chunk=2, precision="float32")
        stain_volume(model, volume, out, config=config, device=device, uncertainty=uncertainty, intensity=LEVELS)
        maps.append(colours(uncertainty))
    assert maps[0].max() > 0
    assert _apart(*maps) <= 1


def test_the_host_waits_only_for_colours_and_uncertainty(tmp_path: Path) -> None:
    seen = training_reference([pair(tissue(0))]).to_arrays()
    models = [toy_model(tmp_path / f"model{seed}", CHANNEL, seed, seen=seen) for seed in range(2)]
    translators = [load_translator(model, "cuda", precision="float16") for model in models]
    stainer = UncertaintyStainer(translators, _config(CHANNEL).for_model(32, tile_invariant=True), LEVELS)
    chunks = [grey_values((6, 128, 160), seed) for seed in range(3)]
    positions = [FIRST_SLICE.moved(n) for n in range(6)]
    expected = [stainer.begin(stainer.upload(chunk), positions).result().copy() for chunk in chunks]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = [stainer.begin(stainer.upload(chunk), positions) for chunk in chunks]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for begun, stained in zip(pending, expected, strict=True):
        assert _apart(begun.result(), stained) <= 1


def test_a_volume_on_disk_is_float16_by_default_and_may_be_continued(tmp_path: Path) -> None:
    model, volume, out = toy_model(tmp_path / "model", CHANNEL), _volume(), tmp_path / "out.ome.zarr"
    expected = stain_volume(model, volume, config=_config(CHANNEL), intensity=LEVELS, device="cpu")
    stain_volume(model, volume, out, config=_config(CHANNEL), intensity=LEVELS, device="cuda")
    assert open_stained(out).provenance["options"]["precision"] == "float16"
    stained = colours(out)
    assert _apart(stained, expected) <= 3
    first = next(path for path in (out / "0").rglob("*") if path.is_file() and "c" in path.parts)
    first.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="damaged"):
        stain_volume(model, volume, out, config=_config(CHANNEL), intensity=LEVELS, device="cuda")
    assert _apart(colours(out), stained) <= 1


def test_a_volume_that_was_started_in_float32_stays_in_float32(tmp_path: Path) -> None:
    model, volume, out = toy_model(tmp_path / "model", CHANNEL), _volume(), tmp_path / "out.ome.zarr"
    stain_volume(model, volume, out, config=_config(CHANNEL), intensity=LEVELS, device="cpu", part=(1, 2))
    stain_volume(model, volume, out, config=_config(CHANNEL), intensity=LEVELS, device="cuda")
    assert open_stained(out).provenance["options"]["precision"] == "float32"


@NETWORKS
def test_batches_do_not_change_the_colours(tmp_path: Path, network: dict[str, Any]) -> None:
    translator = load_translator(toy_model(tmp_path / "model", network), "cuda", precision="float32")
    config = _config(network).for_model(32, translator.tile_invariant)
    values, positions = grey_values((9, 230, 300)), [FIRST_SLICE.moved(n) for n in range(9)]
    stained = []
    for size in (None, PassSize(1, 1024, 1), PassSize(4, 160, 7)):
        stainer = SliceStainer(translator, config, LEVELS)
        stainer.size = size
        stained.append(stainer.begin(stainer.upload(values), positions).result().copy())
    assert max(_apart(stained[0], each) for each in stained) <= 1


@NETWORKS
def test_the_host_waits_only_for_the_colours(tmp_path: Path, network: dict[str, Any]) -> None:
    translator = load_translator(toy_model(tmp_path / "model", network), "cuda", precision="float16")
    stainer = SliceStainer(translator, _config(network).for_model(32, translator.tile_invariant), LEVELS)
    chunks = [grey_values((6, 128, 160), seed) for seed in range(3)]
    positions = [FIRST_SLICE.moved(n) for n in range(6)]
    expected = [stainer.begin(stainer.upload(chunk), positions).result().copy() for chunk in chunks]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = [stainer.begin(stainer.upload(chunk), positions) for chunk in chunks]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for begun, colours_of_chunk in zip(pending, expected, strict=True):
        assert _apart(begun.result(), colours_of_chunk) <= 1


def test_copies_are_pinned_and_one_for_each_batch(tmp_path: Path) -> None:
    from torch.profiler import ProfilerActivity, profile

    translator = load_translator(toy_model(tmp_path / "model", CHANNEL), "cuda")
    stainer = SliceStainer(translator, _config(CHANNEL).for_model(32, tile_invariant=True), LEVELS)
    stainer.size = PassSize(2, 1024)
    values, positions = grey_values((8, 128, 160)), [FIRST_SLICE.moved(n) for n in range(8)]
    stainer.begin(stainer.upload(values), positions).result()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        stainer.begin(stainer.upload(values), positions).result()
    # Calls of the runtime are recorded too, as `cudaMemcpyAsync`.
    names = [event.name for event in profiled.events() if event.name.startswith("Memcpy")]
    copies = [name for name in names if "DtoD" not in name]
    assert sorted(set(copies)) == ["Memcpy DtoH (Device -> Pinned)", "Memcpy HtoD (Pinned -> Device)"]
    assert sum("DtoH" in name for name in copies) == 5  # four batches, and the counts of values that are not finite
    assert sum("HtoD" in name for name in copies) == 1


def _other_work(stop: threading.Event) -> None:
    stream = torch.cuda.Stream()
    while not stop.is_set():
        with torch.cuda.stream(stream):
            torch.empty(1 << 20, pin_memory=True).to("cuda", non_blocking=True).cpu()


def test_graphs_give_the_same_colours_next_to_other_threads(tmp_path: Path) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL), "cuda", precision="float16")
    plain, graphs = replace(translator, runner=NetworkRunner(graphs=False)), NetworkRunner()
    stop = threading.Event()
    thread = threading.Thread(target=_other_work, args=(stop,))
    thread.start()
    try:
        for seed in range(4):
            ct = grey_values((128, 160), seed) * 30
            assert _apart(stain_slice(replace(translator, runner=graphs), ct), stain_slice(plain, ct)) <= 1
    finally:
        stop.set()
        thread.join()
    assert graphs.captured == 1


def _model_that_overflows(folder: Path) -> Path:
    """Write a model whose activations exceed the range of float16, but not that of float32."""
    network = weights_of(INSTANCE | {"norm": "none"})
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    with torch.no_grad():
        layers[0].weight.mul_(1e4)
        layers[-1].weight.mul_(1e-4)
    spec = ModelSpec(
        generator=INSTANCE | {"norm": "none"},
        in_channels=1,
        voxel_um=5.0,
        stain="h&e",
        recipe="test",
        tomostain_version=__version__,
    )
    save_model(folder, spec, network.state_dict())
    return folder


def test_overflow_falls_back_to_float32_unless_float16_is_requested(tmp_path: Path) -> None:
    model, volume = _model_that_overflows(tmp_path / "model"), _volume((3, 100, 120))
    expected = stain_volume(model, volume, intensity=LEVELS, device="cpu")
    with pytest.warns(UserWarning, match="slice 0 along z is not finite in float16 and is stained in float32"):
        stained = stain_volume(model, volume, intensity=LEVELS, device="cuda")
    assert _apart(stained, expected) <= 1
    with pytest.raises(InputError, match="set `precision=float32`"):
        stain_volume(model, volume, config=StainConfig(precision="float16"), intensity=LEVELS, device="cuda")


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_weights_that_are_not_finite_give_no_image(tmp_path: Path, precision: Any) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL), "cuda", precision=precision)
    _break(translator)
    with pytest.raises(InputError, match=r"slice 0 along z: .* values are not finite numbers"):
        stain_volume(translator, _volume(), tmp_path / "out.ome.zarr", intensity=LEVELS)


def _break(translator: Translator) -> None:
    with torch.no_grad():
        next(translator.network.parameters()).fill_(torch.nan)
