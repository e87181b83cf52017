"""The uncertainty without leaving the device: the bytes of each slice alone, few copies, memory, and not finite values.

On the CPU the same code runs as on a GPU; `staged` makes a volume go through it from grey values as they are stored.
"""

import dataclasses
import functools
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.operators import count_operators
from tests.support.overflow import Overflowing
from tests.support.toys import LEVELS, RESNET, colours, grey_values, toy_model, two_way_model
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.imaging.intensity import normalise_ct
from tomostain.io import Volume
from tomostain.ood.novelty import training_reference
from tomostain.stain import StainConfig, StainJob, Translator, load_translator, slice_novelty, stain_slice, stain_volume
from tomostain.stain import uncertainty_stainer as module
from tomostain.stain.pass_size import PassSize
from tomostain.stain.pixels import mean_deviation
from tomostain.stain.transfer import Transfer
from tomostain.stain.uncertainty import disagreement
from tomostain.stain.uncertainty_map import uncertainty_map
from tomostain.stain.uncertainty_stainer import UncertaintyStainer
from tomostain.tiling.noise import FIRST_SLICE, NoiseSpec, SlicePosition
from tomostain.tiling.slice_context import slice_contexts

CHANNEL = RESNET | {"norm": "channel"}
SHAPE = (5, 36, 41)
CONFIG = StainConfig(patch_px=32, z_chunk=3)
NOVELTY_ERROR = (
    r"µCT: uncertainty of slice \d along z: novelty: 1760 of 1760 values are not finite numbers; .*use another model"
)
OVERLAPPING = StainConfig(patch_px=32, stride_px=16, z_chunk=3)
VALUES = grey_values(SHAPE)
VALUES[-1, 5:30, 8:33] = 1300
CT = normalise_ct(VALUES, LEVELS)


@functools.cache
def _seen() -> dict[str, Any]:
    """Return the record of training on a part of the volume."""
    return training_reference(
        [Pair("p", CT[0], np.zeros((*SHAPE[1:], 3), np.uint8), np.ones(SHAPE[1:], bool), 5.0)]
    ).to_arrays()


def _two(folder: Path, **about: Any) -> list[Path]:
    return [toy_model(folder / f"model{seed}", CHANNEL, seed, **about) for seed in range(2)]


def _noisy(folder: Path, number: int = 1, **about: Any) -> list[Path]:
    network = CHANNEL | {"in_channels": 2}
    noise = NoiseSpec(channels=1)
    return [toy_model(folder / f"m{n}", network, n, in_channels=1, noise=noise, **about) for n in range(number)]


def _context(folder: Path) -> list[Path]:
    three = toy_model(folder / "three", CHANNEL | {"in_channels": 3}, in_channels=1, ct_slices=3)
    return [three, toy_model(folder / "one", CHANNEL, 1)]


CASES: dict[str, tuple[Callable[[Path], list[Path]], int]] = {
    "ensemble": (_two, 1),
    "seeds": (_noisy, 4),
    "novelty": (lambda folder: [toy_model(folder / "model", CHANNEL, seen=_seen())], 1),
    "everything": (lambda folder: _noisy(folder, 2, seen=_seen()), 2),
    "slice context": (_context, 1),
    "cycle error": (lambda folder: [two_way_model(folder / "model", CHANNEL)], 1),
}


def _expected(
    models: list[Translator], config: StainConfig, samples: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return colours and uncertainty of each slice alone, by the functions for one slice."""
    margin = max(each.spec.ct_slices for each in models) // 2
    contexts = slice_contexts(np.pad(CT, ((margin, margin), (0, 0), (0, 0)), mode="edge"), 2 * margin + 1)
    config = config.for_model(models[0].spec.patch_px, models[0].tile_invariant)
    stained, maps = [], []
    for index, ct in enumerate(contexts):
        position = SlicePosition(seed=seed).moved(index)
        stained.append(stain_slice(models[0], ct, config, position))
        maps.append(uncertainty_map(models, ct, stained[-1], config, position, samples))
    return np.stack(stained), np.stack(maps)


@pytest.mark.parametrize("config", [CONFIG, OVERLAPPING], ids=["exact", "overlapping"])
@pytest.mark.parametrize("case", CASES)
def test_a_volume_has_the_bytes_of_each_slice_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, config: StainConfig
) -> None:
    make, samples = CASES[case]
    models = make(tmp_path)
    translators = [load_translator(each, "cpu", reverse=case == "cycle error") for each in models]
    seed = 4 if translators[0].has_noise else 0
    expected = _expected(translators, config, samples, seed)
    assert expected[1].std() > 2
    volume = Volume.from_array(VALUES, voxel_um=5.0, name="array")
    options: dict[str, Any] = {"noise_samples": samples, "noise_seed": seed, "intensity": LEVELS, "device": "cpu"}
    for staged in (False, True):
        monkeypatch.setattr(StainJob, "is_batched", staged)
        paths = tmp_path / f"out-{staged}.ome.zarr", tmp_path / f"uncertainty-{staged}.ome.zarr"
        stain_volume(models[0], volume, paths[0], uncertainty=paths[1], ensemble=models[1:], config=config, **options)
        for path, values in zip(paths, expected, strict=True):
            np.testing.assert_array_equal(colours(path), values)


@pytest.mark.parametrize("number", [2, 3, 5, 8, 64])
def test_the_deviation_of_tensors_has_the_bits_of_numpy(number: int) -> None:
    images = np.random.default_rng(number).integers(0, 256, (number, 31, 27, 3)).astype(np.uint8)
    deviation = mean_deviation([torch.from_numpy(image)[None] for image in images])
    np.testing.assert_array_equal(deviation[0].numpy(), disagreement(list(images)))


def _stainer(folder: Path, models: int, samples: int = 1, config: StainConfig = CONFIG) -> UncertaintyStainer:
    translators = [load_translator(each, "cpu") for each in _noisy(folder, models)]
    config = config.for_model(32, config.stride_px is None)
    return UncertaintyStainer(translators, config, LEVELS, noise_samples=samples)


def _positions(count: int) -> list[SlicePosition]:
    return [FIRST_SLICE.moved(index) for index in range(count)]


@pytest.mark.parametrize(("slices", "models", "samples"), [(2, 2, 1), (6, 2, 1), (2, 4, 1), (2, 1, 5), (4, 3, 4)])
def test_a_chunk_is_copied_to_the_device_once_and_each_batch_back_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slices: int, models: int, samples: int
) -> None:
    copies: Counter[str] = Counter()
    upload, download = Transfer.upload, Transfer.download

    def counting_upload(self: Transfer, values: NDArray[Any], slices: int | None = None) -> Any:
        copies[f"{values.dtype} up"] += 1
        return upload(self, values, slices)

    def counting_download(self: Transfer, values: torch.Tensor, target: torch.Tensor) -> Any:
        copies[str(values.dtype)] += 1
        return download(self, values, target)

    stainer = _stainer(tmp_path, models, samples)
    for each in stainer.stainers:
        each.size = PassSize(8, 1024)
    values = grey_values((slices, 36, 41))
    monkeypatch.setattr(Transfer, "upload", counting_upload)
    monkeypatch.setattr(Transfer, "download", counting_download)
    stainer.begin(stainer.upload(values), _positions(slices)).result()
    # Colours, map, and the counts of values that are not finite.
    assert copies == {"uint16 up": 1, "torch.uint8": 2, "torch.int64": 1}
    for each in stainer.stainers:
        each.size = PassSize(1, 1024)
    copies.clear()
    stainer.begin(stainer.upload(values), _positions(slices)).result()
    assert copies == {"uint16 up": 1, "torch.uint8": 2 * slices, "torch.int64": 1}


@pytest.mark.parametrize("case", [case for case in CASES if case != "slice context"])
@pytest.mark.parametrize("config", [CONFIG, OVERLAPPING], ids=["exact", "overlapping"])
def test_nothing_waits_for_the_device_until_the_colours_are_used(
    tmp_path: Path, case: str, config: StainConfig
) -> None:
    make, samples = CASES[case]
    translators = [load_translator(each, "cpu", reverse=case == "cycle error") for each in make(tmp_path)]
    stainer = UncertaintyStainer(translators, config.for_model(32, config is CONFIG), LEVELS, noise_samples=samples)
    grey = stainer.upload(VALUES)
    stainer.begin(grey, _positions(len(VALUES)))  # the receptive field is measured once
    counted = count_operators(lambda: stainer.begin(grey, _positions(len(VALUES))))
    assert counted.total > 50
    assert counted.synchronisations == 0


def test_novelty_is_computed_in_another_thread_while_the_device_stains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL, seen=_seen()), "cpu")
    stainer = UncertaintyStainer([translator], CONFIG.for_model(32, True), LEVELS)
    is_begun, threads, slices = threading.Event(), set(), []
    novelty_of = slice_novelty.novelty_of

    def waiting(translators: Any, ct: NDArray[Any]) -> NDArray[np.float32]:
        assert is_begun.wait(120)
        threads.add(threading.current_thread())
        slices.append(ct)
        return novelty_of(translators, ct)

    monkeypatch.setattr(slice_novelty, "novelty_of", waiting)
    pending = stainer.begin(stainer.upload(np.pad(VALUES, ((1, 1), (0, 0), (0, 0)))), _positions(len(VALUES)))
    is_begun.set()  # `begin` did not wait for the novelty
    assert pending.result().shape == (2, *SHAPE, 3)
    assert threading.main_thread() not in threads
    assert len(slices) == len(VALUES)  # not for the neighbours
    assert pending.grey is None
    np.testing.assert_array_equal(pending.result(), pending.result())


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (StainConfig(patch_px=256, z_chunk=4), PassSize(4, 256)),
        (StainConfig(patch_px=32, stride_px=16, z_chunk=4), PassSize(4, patches=16)),
    ],
)
@pytest.mark.parametrize("where", ["second network", "deviation"])
def test_out_of_memory_halves_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: StainConfig, size: PassSize, where: str
) -> None:
    values, positions = grey_values((4, 100, 90)), _positions(4)
    whole = _stainer(tmp_path, 2, config=config)
    expected = whole.begin(whole.upload(values), positions).result().astype(int)
    batches = []

    def limited(function: Callable[[Any], Any], images: Any, slices: int) -> Any:
        if slices > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        batches.append(slices)
        return function(images)

    stainer = _stainer(tmp_path / "again", 2, config=config)
    for each in stainer.stainers:
        each.size = size
    if where == "deviation":
        deviation = mean_deviation
        monkeypatch.setattr(module, "mean_deviation", lambda images: limited(deviation, images, len(images[0])))
    else:
        drawn = stainer.stainers[1]._drawn
        monkeypatch.setattr(
            stainer.stainers[1], "_drawn", lambda t, images, s: limited(lambda i: drawn(t, i, s), images, len(images))
        )
    stained = stainer.begin(stainer.upload(values), positions).result().astype(int)
    assert np.abs(stained - expected).max() <= 1
    assert batches == [1] * 4


def test_too_little_memory_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "mean_deviation", full)
    for config in (CONFIG, OVERLAPPING):
        stainer = _stainer(tmp_path / str(config.stride_px), 2, config=config)
        with pytest.raises(InputError, match=r"out of memory on cpu .*smaller `patch_px`, or `batch` 1"):
            stainer.begin(stainer.upload(VALUES), _positions(len(VALUES)))


def _half(exact: Translator, *, auto: bool = True, network: Any = None) -> Translator:
    """Return a translator in half precision, as far as a CPU can imitate one."""
    return dataclasses.replace(
        exact,
        network=network or Overflowing(exact.network),
        precision="float16",
        in_float32=functools.cache(lambda: exact),
        may_fall_back=auto,
    )


def _with_bright_slices() -> NDArray[np.uint16]:
    values = np.full((6, 40, 44), 300, np.uint16)
    values[3:5, 10:20, 5:9] = 2000
    return values


def _begun(translators: list[Translator], samples: int = 1) -> Any:
    stainer = UncertaintyStainer(translators, CONFIG.for_model(32, True), LEVELS, noise_samples=samples)
    return stainer.begin(stainer.upload(_with_bright_slices()), _positions(6))


@pytest.mark.parametrize("which", [0, 1])
def test_a_slice_that_is_not_finite_in_any_model_is_stained_in_float32(
    tmp_path: Path, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    exact = [load_translator(each, "cpu") for each in _two(tmp_path)]
    expected = _begun(exact).result()
    assert expected[1].std() > 2
    half = [_half(each) if index == which else each for index, each in enumerate(exact)]
    pending = _begun(half)
    with pytest.warns(UserWarning, match="slice 3 along z is not finite in float16 and is stained in float32") as seen:
        stained = pending.result()
    np.testing.assert_array_equal(stained, expected)
    assert sum("not finite" in str(each.message) for each in seen) == 1
    assert sum("is not finite in" in record.message for record in caplog.records) == 2
    pending = _begun([_half(each, auto=False) if n == which else each for n, each in enumerate(exact)])
    with pytest.raises(InputError, match=r"slice 3 along z: .* not finite numbers; .*set `precision=float32`"):
        pending.result()


class _OverflowingForNoise(Overflowing):
    """Overflows where the input is bright and the noise of the slice has the sign of one seed only."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.network(images)
        return result.masked_fill((images[:, :1] > self.limit) & (images[:, 1:].mean() > 0), torch.inf)


def test_a_slice_that_is_not_finite_for_some_seeds_is_stained_in_float32(tmp_path: Path) -> None:
    exact = load_translator(_noisy(tmp_path)[0], "cpu")
    expected = _begun([exact], 6).result()
    assert expected[1].std() > 2
    pending = _begun([_half(exact, network=_OverflowingForNoise(exact.network))], 6)
    wrong = pending.wrong.numpy() > 0
    assert 0 < wrong[:, 3:5].mean() < 1
    with pytest.warns(UserWarning, match=r"slice \d along z is not finite in float16 and is stained in float32"):
        np.testing.assert_array_equal(pending.result(), expected)


def test_a_cycle_error_that_is_not_finite_is_computed_in_float32_or_an_error(tmp_path: Path) -> None:
    exact = load_translator(two_way_model(tmp_path / "model", CHANNEL), "cpu", reverse=True)
    expected = _begun([exact]).result()
    assert expected[1].std() > 2
    assert exact.reverse is not None

    class Overflow(torch.nn.Module):
        size_multiple, min_size_px = exact.network.size_multiple, exact.network.min_size_px

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert exact.reverse is not None
            result: torch.Tensor = exact.reverse(images)
            return result.masked_fill(result >= result.amax(), torch.inf)

    half = dataclasses.replace(_half(exact, network=exact.network), reverse=Overflow())
    with pytest.warns(UserWarning, match="uncertainty: slice 0 along z is not finite in float16 and is stained in"):
        np.testing.assert_array_equal(_begun([half]).result(), expected)
    broken = dataclasses.replace(exact, reverse=Overflow())
    with pytest.raises(InputError, match=r"slice 0 along z: .* values are not finite numbers; the weights of the mod"):
        _begun([broken]).result()


def test_a_novelty_that_is_not_a_number_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL, seen=_seen()), "cpu")
    monkeypatch.setattr(slice_novelty, "novelty_of", lambda _, ct: np.full(ct.shape, np.nan, np.float32))
    with pytest.raises(InputError, match=NOVELTY_ERROR):
        _begun([translator]).result()


@pytest.fixture
def novelty_on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the novelty with the slices, as on a GPU."""
    made = slice_novelty.SliceNovelty.__init__

    def with_device(self: Any, translators: Any, reference: Any, device: torch.device, *source: str) -> None:
        made(self, translators, reference, device, *source)
        self.on_device = self.for_device(device)

    monkeypatch.setattr(slice_novelty.SliceNovelty, "__init__", with_device)


@pytest.mark.parametrize("config", [CONFIG, OVERLAPPING], ids=["exact", "overlapping"])
@pytest.mark.parametrize("case", ["novelty", "everything", "slice context and novelty"])
def test_novelty_on_the_device_has_the_bytes_of_each_slice_alone(
    tmp_path: Path, novelty_on_device: None, monkeypatch: pytest.MonkeyPatch, case: str, config: StainConfig
) -> None:
    if case in CASES:
        make, samples = CASES[case]
        models = make(tmp_path)
    else:
        network, samples = CHANNEL | {"in_channels": 3}, 1
        models = [toy_model(tmp_path / "model", network, in_channels=1, ct_slices=3, seen=_seen())]
    translators = [load_translator(each, "cpu") for each in models]
    seed = 4 if translators[0].has_noise else 0
    expected = _expected(translators, config, samples, seed)
    assert expected[1].std() > 2
    volume = Volume.from_array(VALUES, voxel_um=5.0, name="array")
    options: dict[str, Any] = {"noise_samples": samples, "noise_seed": seed, "intensity": LEVELS, "device": "cpu"}
    monkeypatch.setattr(StainJob, "is_batched", True)
    paths = tmp_path / "out.ome.zarr", tmp_path / "uncertainty.ome.zarr"
    stain_volume(models[0], volume, paths[0], uncertainty=paths[1], ensemble=models[1:], config=config, **options)
    np.testing.assert_array_equal(colours(paths[0]), expected[0])
    apart = np.abs(colours(paths[1]).astype(int) - expected[1])
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3


def test_novelty_on_the_device_needs_no_thread_and_no_wait(
    tmp_path: Path, novelty_on_device: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slice_novelty, "ThreadPoolExecutor", None)
    monkeypatch.setattr(slice_novelty, "novelty_of", None)
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL, seen=_seen()), "cpu")
    stainer = UncertaintyStainer([translator], CONFIG.for_model(32, True), LEVELS)
    grey = stainer.upload(VALUES)
    assert grey.on_host is None
    stainer.begin(grey, _positions(len(VALUES)))
    counted = count_operators(lambda: stainer.begin(grey, _positions(len(VALUES))))
    assert counted.total > 500
    assert counted.synchronisations == 0


def test_out_of_memory_in_the_novelty_halves_the_batch(
    tmp_path: Path, novelty_on_device: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL, seen=_seen()), "cpu")
    stainer = UncertaintyStainer([translator], StainConfig(patch_px=256).for_model(32, True), LEVELS)
    stainer.stainers[0].size = PassSize(4, 256)
    assert stainer.novelty is not None
    compare, batches = stainer.novelty.on_device, []
    assert compare is not None

    def limited(ct: torch.Tensor) -> torch.Tensor:
        if len(ct) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        batches.append(len(ct))
        return compare(ct)

    values, positions = grey_values((4, 100, 90)), _positions(4)
    expected = stainer.begin(stainer.upload(values), positions).result().astype(int)
    monkeypatch.setattr(stainer.novelty, "on_device", limited)
    stained = stainer.begin(stainer.upload(values), positions).result().astype(int)
    assert np.abs(stained - expected).max() <= 1
    assert batches == [1] * 4


def test_a_slice_that_is_stained_in_float32_keeps_its_novelty_on_the_device(
    tmp_path: Path, novelty_on_device: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Brighter pixels are more novel.
    monkeypatch.setattr("tomostain.ood.tensor_novelty.TensorNovelty.__call__", lambda _, ct: 1 + ct / 60000)
    exact = [load_translator(each, "cpu") for each in _two(tmp_path, seen=_seen())]
    expected = _begun(exact).result()
    bright = normalise_ct(_with_bright_slices()[3], LEVELS)
    assert (expected[1, 3, ..., 0] >= np.floor(bright / 60000 * 255)).all()
    assert expected[1, 3].std() > 2
    with pytest.warns(UserWarning, match="slice 3 along z is not finite in float16 and is stained in float32"):
        np.testing.assert_array_equal(_begun([_half(exact[0]), exact[1]]).result(), expected)


def test_a_novelty_on_the_device_that_is_not_a_number_is_an_error(
    tmp_path: Path, novelty_on_device: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL, seen=_seen()), "cpu")
    pending = _begun([translator])
    pending.result()
    assert pending.stainer.novelty.on_device is not None
    monkeypatch.setattr(
        "tomostain.ood.tensor_novelty.TensorNovelty.__call__", lambda _, ct: torch.full_like(ct, torch.nan)
    )
    with pytest.raises(InputError, match=NOVELTY_ERROR):
        _begun([translator]).result()


def test_a_slice_that_is_stained_again_leaves_the_batches_of_the_next_chunks(tmp_path: Path) -> None:
    """Another thread may stain the next chunk meanwhile."""
    exact = [load_translator(each, "cpu") for each in _two(tmp_path)]
    pending = _begun([_half(exact[0]), exact[1]])
    shared = pending.stainer.stainers
    for stainer in shared:
        stainer.begin = stainer.try_batch = stainer.halve = None  # an error where one of them is used again
    with pytest.warns(UserWarning, match="slice 3 along z is not finite in float16"):
        pending.result()
    assert all(alone.translator.runner is None for alone in (each.alone() for each in shared))


@pytest.mark.parametrize("times", [1, 2])
def test_a_novelty_that_is_computed_again_without_memory_is_tried_twice(
    tmp_path: Path, novelty_on_device: None, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    exact = [load_translator(each, "cpu") for each in _two(tmp_path, seen=_seen())]
    expected = _begun(exact).result()
    pending = _begun([_half(exact[0]), exact[1]])
    compute, tries, freed = pending.stainer.novelty.on_device, [], []

    def limited(ct: torch.Tensor) -> torch.Tensor:
        tries.append(len(ct))
        if len(tries) <= times:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return compute(ct)

    monkeypatch.setattr(pending.stainer.novelty, "on_device", limited)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(True))
    warned = pytest.warns(UserWarning, match="slice 3 along z is not finite in float16")
    refused = pytest.raises(InputError, match=r"µCT: out of memory .* uncertainty of slice 3 along z .*`z_chunk`")
    with warned, refused if times == 2 else nullcontext():
        np.testing.assert_array_equal(pending.result(), expected)
    # Two slices are stained again.
    assert (len(tries), len(freed)) == (3 if times == 1 else 2, times)
