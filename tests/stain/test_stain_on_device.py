"""Staining without leaving the device: the same bytes, few copies, batches, memory, and not finite values.

On the CPU the same code runs as on a GPU; `staged` makes a volume go through it in whole z chunks.
"""

import dataclasses
import functools
import threading
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.operators import count_operators
from tests.support.overflow import Overflowing
from tests.support.toys import LEVELS, RESNET, colours, grey_values, toy_model
from tomostain.errors import InputError, InterruptedRunError
from tomostain.imaging.intensity import IntensityReference, normalise_ct
from tomostain.io import Volume
from tomostain.stain import StainConfig, StainJob, Translator, load_translator, stain_slice, stain_volume
from tomostain.stain.pass_size import PassSize
from tomostain.stain.pixels import normalise, to_bytes
from tomostain.stain.precision_check import measure_deviation
from tomostain.stain.request import make_request
from tomostain.stain.slice_stainer import SliceStainer
from tomostain.stain.transfer import Transfer
from tomostain.tiling.blend import blend_images
from tomostain.tiling.noise import FIRST_SLICE, NoiseSpec

CHANNEL = RESNET | {"norm": "channel"}
NOISE = NoiseSpec(channels=1)
OVERLAPPING = StainConfig(patch_px=32, stride_px=16, z_chunk=4)


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stain z chunks on the CPU as on a GPU."""
    monkeypatch.setattr(StainJob, "is_batched", True)


def _sized(monkeypatch: pytest.MonkeyPatch, size: PassSize) -> None:
    monkeypatch.setattr("tomostain.stain.slice_stainer.pass_size", lambda *_: size)


def _volume(dtype: str = "uint16", shape: tuple[int, int, int] = (7, 50, 41)) -> NDArray[Any]:
    values = grey_values(shape)
    return (values // 4).astype(dtype) if np.dtype(dtype).itemsize == 1 else values.astype(dtype)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", ">u2", "int16", "uint32", "int32", "uint64", "float16", "float32", ">f8"]
)
def test_uploaded_grey_values_are_normalised_as_before(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, (4, 9, 7)).astype(dtype)
    if values.dtype.name in ("uint16", "uint32"):
        values[0, 0, 0] = np.iinfo(values.dtype).max
    reference = IntensityReference(3.7, 71.3)
    uploaded = Transfer(torch.device("cpu")).upload(values)
    ours = normalise(uploaded.floats(1, 3), reference)
    np.testing.assert_array_equal(ours.numpy(), normalise_ct(values[1:3], reference).astype(np.float32))
    everything = normalise(uploaded.floats(0, 4), reference)
    np.testing.assert_array_equal(everything.numpy(), normalise_ct(values, reference).astype(np.float32))


def test_bytes_are_rounded_half_to_even_and_wrong_values_are_counted() -> None:
    values = torch.tensor([0.0, 0.5, 1.5, 2.5, 254.5, 255.0, torch.nan, torch.inf, -torch.inf]).reshape(1, 3, 1, 3)
    rounded, wrong = to_bytes(values.nan_to_num(7.0, 7.0, 7.0))
    expected = np.rint([0.0, 0.5, 1.5, 2.5, 254.5, 255.0, 7, 7, 7]).astype(np.uint8)
    np.testing.assert_array_equal(rounded.permute(0, 3, 1, 2).flatten().numpy(), expected)
    assert rounded.is_contiguous()
    assert wrong.tolist() == [0]
    assert to_bytes(values)[1].tolist() == [3]


def test_white_blended_with_hann_weights_is_white() -> None:
    white = blend_images(
        lambda patches: torch.full((len(patches), 3, *patches.shape[-2:]), 255.0),
        torch.zeros(1, 70, 61),
        patch_px=32,
        stride_px=16,
        blend="hann",
    )
    rounded, wrong = to_bytes(white)
    assert (rounded == 255).all()
    assert wrong.tolist() == [0]


@pytest.mark.parametrize("statistics", ["tile", "volume"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("network", [RESNET, CHANNEL], ids=["instance", "channel"])
def test_a_staged_volume_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, statistics: str, network: dict[str, Any]
) -> None:
    if statistics == "volume" and network is CHANNEL:
        pytest.skip("channel normalisation needs no statistics")
    model, values = toy_model(tmp_path / "model", network), _volume(dtype)
    config = StainConfig(patch_px=32, z_chunk=4, statistics=statistics, gaussian_sigma=0.6 if dtype == "uint8" else 0)
    options: dict[str, Any] = {"config": config, "intensity": IntensityReference(20.0, 200.0)}
    volume = Volume.from_array(values, voxel_um=5.0, name="array")
    expected = stain_volume(model, volume, **options)
    monkeypatch.setattr(StainJob, "is_batched", True)
    np.testing.assert_array_equal(stain_volume(model, volume, **options), expected)
    stain_volume(model, volume, tmp_path / "out.ome.zarr", **options)
    np.testing.assert_array_equal(colours(tmp_path / "out.ome.zarr"), expected)


@pytest.mark.parametrize("planes", ["z", "x", "zyx"])
def test_a_staged_volume_with_slice_context_and_noise_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planes: str
) -> None:
    model = toy_model(tmp_path / "model", CHANNEL | {"in_channels": 4}, in_channels=1, ct_slices=3, noise=NOISE)
    volume = Volume.from_array(_volume(shape=(7, 37, 41)), voxel_um=5.0, name="array")
    config = StainConfig(patch_px=64, z_chunk=4, planes=planes)
    options: dict[str, Any] = {"config": config, "intensity": LEVELS, "noise_seed": 5}
    expected = stain_volume(model, volume, **options)
    monkeypatch.setattr(StainJob, "is_batched", True)
    np.testing.assert_array_equal(stain_volume(model, volume, **options), expected)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (StainConfig(patch_px=64, z_chunk=8), PassSize(3, 64)),
        (StainConfig(patch_px=64, z_chunk=8), PassSize(8, 48)),
        (StainConfig(patch_px=32, stride_px=16, z_chunk=8), PassSize(4, patches=9)),
    ],
)
def test_batches_of_slices_do_not_change_the_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, staged: None, config: StainConfig, size: PassSize
) -> None:
    model = toy_model(tmp_path / "model", CHANNEL)
    volume = Volume.from_array(_volume(), voxel_um=5.0, name="array")
    expected = stain_volume(model, volume, config=config, intensity=LEVELS).astype(int)
    _sized(monkeypatch, size)
    stained = stain_volume(model, volume, config=config, intensity=LEVELS).astype(int)
    assert np.abs(stained - expected).max() <= 1


def test_a_chunk_is_uploaded_once_and_each_batch_is_copied_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, staged: None
) -> None:
    copies: Counter[str] = Counter()
    shapes = []
    upload, download = Transfer.upload, Transfer.download

    def counting_upload(self: Transfer, values: NDArray[Any], slices: int | None = None) -> Any:
        copies["up"] += 1
        shapes.append(values.shape)
        assert values.dtype == np.uint16
        return upload(self, values, slices)

    def counting_download(self: Transfer, values: torch.Tensor, target: torch.Tensor) -> Any:
        copies[str(values.dtype)] += 1
        return download(self, values, target)

    monkeypatch.setattr(Transfer, "upload", counting_upload)
    monkeypatch.setattr(Transfer, "download", counting_download)
    _sized(monkeypatch, PassSize(2, 64))
    model = toy_model(tmp_path / "model", CHANNEL)
    volume = Volume.from_array(_volume(shape=(8, 50, 41)), voxel_um=5.0, name="array")
    stain_volume(model, volume, config=StainConfig(patch_px=64, z_chunk=4), intensity=LEVELS)
    # Two chunks of two batches; the number of values that are not finite is copied once for each chunk.
    assert copies == {"up": 2, "torch.uint8": 4, "torch.int64": 2}
    assert shapes == [(4, 50, 41)] * 2


@pytest.mark.parametrize("config", [StainConfig(patch_px=64), OVERLAPPING])
def test_nothing_waits_for_the_device_until_the_colours_are_used(tmp_path: Path, config: StainConfig) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL))
    stainer = SliceStainer(translator, config.for_model(32, config is not OVERLAPPING), LEVELS)
    grey, positions = stainer.upload(_volume()), [FIRST_SLICE.moved(n) for n in range(7)]
    stainer.begin(grey, positions)  # the receptive field is measured once
    counted = count_operators(lambda: stainer.begin(grey, positions))
    assert counted.total > 50
    assert counted.synchronisations == 0


class _Limited(torch.nn.Module):
    """A network that runs out of memory above a number of pixels."""

    def __init__(self, network: Any, pixels: int) -> None:
        super().__init__()
        self.network, self.pixels, self.batches = network, pixels, []
        self.size_multiple, self.min_size_px = network.size_multiple, network.min_size_px

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images[:, 0].numel() > self.pixels:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.batches.append(tuple(images.shape))
        result: torch.Tensor = self.network(images)
        return result


@pytest.mark.parametrize(
    ("config", "size", "pixels"),
    [
        (StainConfig(patch_px=512, z_chunk=4), PassSize(4, 512), 512 * 512),
        (StainConfig(patch_px=512, z_chunk=4), PassSize(4, 512), 256 * 256),
        (StainConfig(patch_px=128, stride_px=64, z_chunk=4), PassSize(4, patches=16), 3 * 128 * 128),
    ],
)
def test_out_of_memory_halves_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: StainConfig, size: PassSize, pixels: int
) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL))
    config = config.for_model(32, tile_invariant=config.stride_px is None)
    values = grey_values((4, 300, 300)) * 30
    positions = [FIRST_SLICE.moved(n) for n in range(4)]
    whole = SliceStainer(translator, config)
    expected = whole.begin(whole.upload(values), positions).result().astype(int)
    _sized(monkeypatch, size)
    limited = _Limited(translator.network, pixels)
    stainer = SliceStainer(dataclasses.replace(translator, network=limited), config)
    stained = stainer.begin(stainer.upload(values), positions).result().astype(int)
    assert np.abs(stained - expected).max() <= 1
    assert max(n * rows * columns for n, _, rows, columns in limited.batches) <= pixels


def test_too_little_memory_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL))
    broken = dataclasses.replace(translator, network=_Limited(translator.network, 0))
    for config in (StainConfig(), OVERLAPPING):
        with pytest.raises(InputError, match=r"out of memory on cpu .*smaller `patch_px`, or `batch` 1"):
            stain_slice(broken, grey_values((40, 40)), config)


def _half(exact: Translator, *, auto: bool = True, limit: float = 0.9) -> Translator:
    """Return a translator in half precision, as far as a CPU can imitate one."""
    return dataclasses.replace(
        exact,
        network=Overflowing(exact.network, limit),
        precision="float16",
        in_float32=functools.cache(lambda: exact),
        may_fall_back=auto,
    )


@pytest.fixture
def exact(tmp_path: Path) -> Translator:
    return load_translator(toy_model(tmp_path / "model", CHANNEL))


def _with_bright_slices() -> Volume:
    values = np.full((6, 40, 44), 300, np.uint16)
    values[3:5, 10:20, 5:9] = 2000
    return Volume.from_array(values, voxel_um=5.0, name="array")


def test_a_slice_that_is_not_finite_is_stained_in_float32(
    exact: Translator, staged: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config, volume = StainConfig(z_chunk=4), _with_bright_slices()
    expected = stain_volume(exact, volume, config=config, intensity=LEVELS)
    with pytest.warns(
        UserWarning, match="slice 3 along z is not finite in float16 and is stained in float32"
    ) as caught:
        stained = stain_volume(_half(exact), volume, config=config, intensity=LEVELS)
    np.testing.assert_array_equal(stained, expected)
    assert sum("not finite" in str(each.message) for each in caught) == 1
    assert ["slice 4" in r.message for r in caplog.records if "is not finite in" in r.message] == [False, True]


def test_a_requested_precision_is_not_replaced(exact: Translator, tmp_path: Path, staged: None) -> None:
    with pytest.raises(InputError, match=r"slice 3 along z: .* not finite numbers; .*set `precision=float32`"):
        stain_volume(
            _half(exact, auto=False),
            _with_bright_slices(),
            tmp_path / "out.ome.zarr",
            config=StainConfig(precision="float16"),
            intensity=LEVELS,
        )


def test_weights_that_are_not_finite_are_an_error_in_float32_too(exact: Translator, staged: None) -> None:
    broken = dataclasses.replace(exact, network=Overflowing(exact.network, -2.0))
    with (
        pytest.warns(UserWarning, match="is stained in float32"),
        pytest.raises(
            InputError, match=r"slice 0 along z: .*the weights of the model are broken, so use another model"
        ),
    ):
        stain_volume(_half(broken, limit=-2.0), _with_bright_slices(), intensity=LEVELS)


def test_volume_statistics_are_those_of_float32(tmp_path: Path, staged: None) -> None:
    exact = load_translator(toy_model(tmp_path / "model", RESNET))
    config, volume = StainConfig(statistics="volume"), Volume.from_array(_volume(), voxel_um=5.0, name="array")
    expected = stain_volume(exact, volume, config=config, intensity=LEVELS)
    half = dataclasses.replace(
        exact, precision="float16", in_float32=functools.cache(lambda: exact), may_fall_back=True
    )
    np.testing.assert_array_equal(stain_volume(half, volume, config=config, intensity=LEVELS), expected)


def test_the_deviation_from_float32_is_measured_and_reported(
    exact: Translator, staged: None, caplog: pytest.LogCaptureFixture
) -> None:
    class Coarse(torch.nn.Module):
        size_multiple, min_size_px = exact.network.size_multiple, exact.network.min_size_px

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = exact.network(images) + 4 / 127.5
            return result

    half = dataclasses.replace(
        exact, network=Coarse(), precision="float16", in_float32=functools.cache(lambda: exact), may_fall_back=True
    )
    caplog.set_level("INFO")
    volume = Volume.from_array(_volume(), voxel_um=5.0, name="array")
    with pytest.warns(UserWarning, match=r"by more than 3 in [\d.]+ % of the values; set `precision=float32`"):
        stain_volume(half, volume, config=StainConfig(z_chunk=4), intensity=LEVELS)
    messages = [r.message for r in caplog.records if "differs from float32" in r.message]
    assert messages == [
        "float16 differs from float32 by at most 4 of 255 grey levels (median 4) in 4 tiles of the first z chunk"
    ]
    deviation = measure_deviation(half, torch.full((1, 40, 40), 20000.0))
    assert deviation is not None
    assert (deviation.max, deviation.median, deviation.large_share, deviation.tiles) == (4, 4, 1.0, 1)


def test_the_comparison_with_float32_delays_no_chunk(exact: Translator, caplog: pytest.LogCaptureFixture) -> None:
    may_build = threading.Event()

    def in_float32() -> Translator:
        assert may_build.wait(60)
        return exact

    half = dataclasses.replace(exact, precision="float16", in_float32=in_float32)
    stainer = SliceStainer(half, OVERLAPPING, LEVELS, compares_precisions=True)
    caplog.set_level("INFO")
    chunk, positions = _volume(shape=(4, 50, 41)), [FIRST_SLICE.moved(index) for index in range(4)]
    first, second = (stainer.begin(stainer.upload(chunk), positions).result() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not any("differs" in record.message for record in caplog.records)
    may_build.set()
    for _ in range(2):
        stainer.report_precision()
    messages = [record.message for record in caplog.records if "differs" in record.message]
    assert messages == [
        "float16 differs from float32 by at most 0 of 255 grey levels (median 0) in 4 tiles of the first z chunk"
    ]


def test_auto_keeps_the_precision_of_the_started_volume(tmp_path: Path, exact: Translator) -> None:
    volume, out = _with_bright_slices(), tmp_path / "out.ome.zarr"
    options: dict[str, Any] = {"config": StainConfig(z_chunk=2), "intensity": LEVELS}
    stop = iter([False, True])
    with pytest.raises(InterruptedRunError, match="2 of 6 slices are stained"):
        stain_volume(exact, volume, out, should_stop=lambda: next(stop), **options)
    # A GPU would choose float16 now; a model that is loaded in it is refused instead of mixing.
    with pytest.raises(InputError, match="precision float32: the model is loaded with float16"):
        stain_volume(_half(exact), volume, out, **options)
    stain_volume(exact, volume, out, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=r"options\.precision was 'float32' and is now 'float16'"):
            stain_volume(
                _half(exact, auto=False),
                volume,
                out,
                config=StainConfig(z_chunk=2, precision="float16"),
                intensity=LEVELS,
            )


def test_a_request_takes_over_the_precision_of_what_it_continues(tmp_path: Path, exact: Translator) -> None:
    volume, out = _with_bright_slices(), tmp_path / "out.ome.zarr"
    with pytest.warns(UserWarning, match="not finite in float16"):
        stain_volume(_half(exact), volume, out, intensity=LEVELS)
    request = make_request(tmp_path / "model", volume, out, intensity=LEVELS)
    assert request.with_begun_precision().config.precision == "float16"
    again = dataclasses.replace(request, overwrite=True)
    assert again.with_begun_precision() is again
    stated = make_request(tmp_path / "model", volume, out, config=StainConfig(precision="bfloat16"))
    assert stated.with_begun_precision() is stated
    other = dataclasses.replace(request, out=tmp_path / "other.ome.zarr")
    assert other.with_begun_precision() is other


def test_the_resolved_precision_is_recorded(tmp_path: Path) -> None:
    from tomostain.io import open_stained

    model, volume = toy_model(tmp_path / "model", CHANNEL), _with_bright_slices()
    stain_volume(model, volume, tmp_path / "out.ome.zarr", config=StainConfig(), intensity=LEVELS)
    assert open_stained(tmp_path / "out.ome.zarr").provenance["options"]["precision"] == "float32"
