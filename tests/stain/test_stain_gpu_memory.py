"""Memory of a GPU that a volume takes, networks that no CUDA graph can hold, and true float32 in several threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.tensor_memory import TensorMemory
from tests.support.textures import pair, tissue
from tests.support.toys import LEVELS, RESNET, grey_values, toy_model, two_way_model, weights_of
from tomostain.errors import InputError
from tomostain.io import Volume
from tomostain.networks import cuda_capture, parse_generator_spec
from tomostain.ood.novelty import training_reference
from tomostain.ood.tensor_novelty import memory_bytes
from tomostain.stain import StainConfig, StainJob, load_translator, runner
from tomostain.stain.comparison_memory import comparison_bytes, slices_compared
from tomostain.stain.pipeline import InFlight
from tomostain.stain.request import make_request
from tomostain.stain.resources import _gpu_memory, _memory
from tomostain.stain.slice_stainer import SliceStainer
from tomostain.stain.transfer import _sent
from tomostain.stain.translator import _run
from tomostain.tiling.noise import FIRST_SLICE

CHANNEL = RESNET | {"norm": "channel"}
CHUNK = 4 * 40 * 44 * 2  # bytes of the grey values


@pytest.mark.parametrize(
    ("free", "sigma", "flight"),
    [
        (4 * 7 * CHUNK, 0, InFlight(2, 4)),
        (4 * 7 * CHUNK - 1, 0, InFlight(2, 3)),
        (4 * 7 * CHUNK, 0.5, InFlight(1, 1)),  # float32 after the filter
        (0, 0, InFlight(1, 1)),
    ],
)
def test_chunks_in_flight_take_a_quarter_of_the_memory_of_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, sigma: float, flight: InFlight
) -> None:
    monkeypatch.setattr("tomostain.stain.job.free_gpu_memory", lambda _: free)
    monkeypatch.setattr("tomostain.stain.job.free_memory", lambda: None)
    monkeypatch.setattr("tomostain.stain.job.available_cores", lambda: 16)
    volume = Volume.from_array(grey_values((12, 40, 44)), voxel_um=5.0, name="array")
    config = StainConfig(z_chunk=4, gaussian_sigma=sigma)
    job = StainJob.open(make_request(toy_model(tmp_path / "model", CHANNEL), volume, config=config, intensity=LEVELS))
    on_gpu = replace(job, translator=replace(job.translator, device=torch.device("cuda")))
    expected = flight if volume.is_concurrent else replace(flight, ahead=1)
    assert on_gpu.in_flight == expected


def test_the_memory_of_compared_models_is_not_used_for_chunks_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [toy_model(tmp_path / str(seed), CHANNEL, seed) for seed in range(3)]
    volume = Volume.from_array(grey_values((12, 40, 44)), voxel_um=5.0, name="array")
    free = [0]
    monkeypatch.setattr("tomostain.stain.job.free_gpu_memory", lambda _: free[0])
    monkeypatch.setattr("tomostain.stain.job.free_memory", lambda: None)
    monkeypatch.setattr("tomostain.stain.job.available_cores", lambda: 16)
    opened, paths = {}, {"out": tmp_path / "out.ome.zarr", "uncertainty": tmp_path / "map.ome.zarr"}
    for number in (2, 3):
        request = make_request(
            models[0], volume, config=StainConfig(z_chunk=4), intensity=LEVELS, ensemble=models[1:number], **paths
        )
        job = StainJob.open(request)
        opened[number] = replace(job, translator=replace(job.translator, device=torch.device("cuda")))
    needed = {number: job.comparison_bytes for number, job in opened.items()}
    assert needed[3] - needed[2] == 4 * 40 * 44 * 3  # the colours of another model
    planned = [_gpu_memory(opened[number], 4) for number in (2, 3)]
    assert planned[1] - planned[0] == 4 * 40 * 44 * 3
    for less, pieces in ((0, 7), (1, 6)):
        for number, job in opened.items():
            free[0] = 4 * 7 * CHUNK + needed[number] - less
            vars(job).pop("in_flight", None)
            assert job.in_flight.pieces == (pieces if volume.is_concurrent else min(pieces, 6))


def test_the_memory_of_novelty_on_a_gpu_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomostain.stain.job.free_gpu_memory", lambda _: 10**10)
    seen = training_reference([pair(tissue(0))]).to_arrays()
    volume = Volume.from_array(grey_values((12, 40, 44)), voxel_um=5.0, name="array")
    needed, planned, on_host = [], [], []
    for number, reference in enumerate((None, seen)):
        models = [toy_model(tmp_path / f"{number}-{n}", CHANNEL, n, seen=reference) for n in range(2)]
        paths = {name: tmp_path / f"{name}.ome.zarr" for name in ("out", "uncertainty")}
        request = make_request(
            models[0], volume, config=StainConfig(z_chunk=4), intensity=LEVELS, ensemble=models[1:], **paths
        )
        job = StainJob.open(request)
        assert job.has_novelty == (reference is not None)
        on_gpu = replace(job, translator=replace(job.translator, device=torch.device("cuda")))
        needed.append(on_gpu.comparison_bytes)
        planned.append(_gpu_memory(on_gpu, 4))
        on_host.append((_memory(job, 4, 2), _memory(on_gpu, 4, 2)))
        assert job.comparison_bytes == needed[0] // 4  # a CPU compares one slice, and counts the novelty elsewhere
    assert needed[1] - needed[0] == planned[1] - planned[0] == memory_bytes(4 * 40 * 44)
    assert on_host[1][0] > on_host[0][0]
    assert on_host[1][1] == on_host[0][1]


def opened(folder: Path, shape: tuple[int, ...], device: str, **options: Any) -> StainJob:
    """Return a job for a device that need not exist."""
    volume = Volume.from_array(grey_values(shape), voxel_um=5.0, name="array")
    model = options.pop("model", None) or toy_model(folder / "model", CHANNEL)
    config = StainConfig(z_chunk=4, patch_px=32, planes=options.pop("planes", "z"))
    job = StainJob.open(make_request(model, volume, config=config, intensity=LEVELS, **options))
    return replace(job, translator=replace(job.translator, device=torch.device(device)))


def test_pieces_in_flight_of_all_axes_are_planned_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomostain.stain.job.free_gpu_memory", lambda _: 10**10)
    monkeypatch.setattr("tomostain.stain.pass_size.free_gpu_memory", lambda _: 10**10)
    monkeypatch.setattr("tomostain.stain.job.free_memory", lambda: None)
    monkeypatch.setattr("tomostain.stain.job.available_cores", lambda: 16)
    job = opened(tmp_path, (12, 40, 44), "cuda", planes="zyx")
    per_px = parse_generator_spec(job.translator.spec.generator).activation_bytes_per_pixel
    ahead = 2 if job.volume.is_concurrent else 1
    # On the host. Turning: 12 slices of 40 x 44 voxels, 8 bytes each. Across y: pieces of 32 x 12 x 44 voxels, across x
    # of 32 x 12 x 40, 11 bytes each. Along z: 4 x 40 x 44 voxels with 2 x 2 bytes of grey values, 2 x 6 of colours
    # along y and x, and 7 that are written.
    stages = {
        "turning": (ahead + 5) * 12 * 40 * 44 * 8,
        "y": 7 * 32 * 12 * 44 * 11 + 28 * 12 * 44,
        "x": 7 * 32 * 12 * 40 * 11 + 28 * 12 * 40,
        "z": (ahead + 5) * 4 * 40 * 44 * 23 + 28 * 40 * 44,
    }
    assert max(stages, key=lambda name: stages[name]) == "y"
    assert _memory(job, 4, 1) == stages["y"] + 32 * 32 * per_px
    # On the device: 2 bytes of grey values and 6 of colours; the whole chunk goes through the network at once (the
    # smallest tile is larger than a slice), with 4 bytes of grey values, 8 of sums for each of three channels and 3 of
    # colours.
    in_network = per_px if job.config.precision == "float32" else per_px // 2
    along = {
        "y": 7 * 32 * 12 * 44 * 2 + 32 * 12 * 44 * 31 + 32 * 12 * 44 * in_network,
        "z": (ahead + 5) * 4 * 40 * 44 * 8 + 4 * 40 * 44 * 31 + 4 * 40 * 44 * in_network,
    }
    assert _gpu_memory(job, 4) == max(along.values())


def test_a_cpu_is_planned_with_the_images_that_it_compares(tmp_path: Path) -> None:
    alone, model = opened(tmp_path, (12, 40, 44), "cpu"), tmp_path / "model"
    paths = {name: tmp_path / f"{name}.ome.zarr" for name in ("out", "uncertainty")}
    ensemble = [toy_model(tmp_path / "other", CHANNEL, 1)]
    compared = opened(tmp_path, (12, 40, 44), "cpu", model=model, ensemble=ensemble, **paths)
    # Each slice: two images of 3 bytes and 72 for their standard deviation.
    assert _memory(compared, 4, 1) - _memory(alone, 4, 1) == 40 * 44 * (2 * 3 + 72)


def test_the_patches_of_the_cycle_error_are_planned(tmp_path: Path) -> None:
    alone = opened(tmp_path, (12, 40, 44), "cpu")
    paths = {name: tmp_path / f"{name}.ome.zarr" for name in ("out", "uncertainty")}
    cycle = opened(tmp_path, (12, 40, 44), "cpu", model=two_way_model(tmp_path / "two-way", CHANNEL), **paths)
    assert cycle.has_cycle_error
    reverse = cycle.translator.spec.reverse
    assert reverse is not None
    specs = [parse_generator_spec(each) for each in (cycle.translator.spec.generator, reverse)]
    # Four patches at once instead of one exact tile; colours and map of one slice.
    expected = (
        32 * 32 * (4 * max(each.activation_bytes_per_pixel for each in specs) - specs[0].activation_bytes_per_pixel)
    )
    assert cycle.comparison_bytes == 2 * 3 * 40 * 44
    assert _memory(cycle, 4, 1) - _memory(alone, 4, 1) == expected + cycle.comparison_bytes


def test_the_images_of_the_cycle_error_take_the_memory_that_is_planned(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.ome.zarr" for name in ("out", "uncertainty")}
    job = opened(tmp_path, (2, 40, 44), "cpu", model=two_way_model(tmp_path / "two-way", CHANNEL), **paths)
    both = job.stainer_with_uncertainty
    positions = [job.position(0), job.position(1)]
    peaks = []
    for stainer in (*both.stainers, both):
        grey = stainer.upload(grey_values((2, 40, 44)).astype(np.float32))
        slices = 4 if stainer is both else 2  # the colours, and the map
        grey.target = target = torch.zeros((slices, 40, 44, 3), dtype=torch.uint8)
        with TensorMemory(target) as memory:
            stainer.begin(grey, positions)
        peaks.append(memory.peak)
    # More than the network that takes most: the colours and the map of the slice before, or of the same slice.
    assert peaks[2] - max(peaks[:2]) == pytest.approx(job.comparison_bytes, rel=0.02)


def test_images_that_are_compared_are_at_most_eight_megapixels_each() -> None:
    assert slices_compared(16, 512**2) == 16
    assert slices_compared(16, 1024**2) == 8
    assert slices_compared(16, 4096**2) == 1
    assert comparison_bytes(3, 16, 1024**2) == comparison_bytes(3, 64, 1024**2)
    assert comparison_bytes(1, 16, 1024**2) == 0


def test_grey_values_are_freed_when_the_colours_are_complete(tmp_path: Path) -> None:
    translator = load_translator(toy_model(tmp_path / "model", CHANNEL), "cpu")
    stainer = SliceStainer(translator, StainConfig().for_model(32, True), LEVELS)
    pending = stainer.begin(stainer.upload(grey_values((2, 40, 44))), [FIRST_SLICE, FIRST_SLICE.moved(1)])
    assert pending.grey is not None
    colours = pending.result().copy()
    assert pending.grey is None
    np.testing.assert_array_equal(pending.result(), colours)


class _Full:
    """Grey values in pinned memory that a GPU has no memory for the first times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def __len__(self) -> int:
        return 8

    def numel(self) -> int:
        return 3_000_000

    def element_size(self) -> int:
        return 2

    def to(self, device: torch.device, *, non_blocking: bool) -> str:
        self.failures -= 1
        if self.failures >= 0:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return "sent"


def test_an_upload_without_memory_is_tried_again_and_then_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    sent: Any = _sent
    assert sent(_Full(0), torch.device("cuda"), "grey values of 8 slices") == "sent"
    assert not emptied
    assert sent(_Full(1), torch.device("cuda"), "grey values of 8 slices") == "sent"
    assert emptied == [True]
    with pytest.raises(
        InputError, match=r"out of memory on cuda: the grey values of 8 slices need 6 MB; give a smaller `z_chunk`"
    ) as e:
        sent(_Full(2), torch.device("cuda"), "grey values of 8 slices")
    assert e.value.parameter == "z_chunk"


class _Watching(torch.nn.Module):
    size_multiple, min_size_px = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.modes.append(torch.backends.cudnn.allow_tf32)
        return images


@pytest.fixture
def tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)


def test_float32_is_not_rounded_without_a_runner(tf32: None) -> None:
    network: Any = _Watching()
    _run(network, torch.zeros(1, 1, 4, 4))
    _run(network, torch.zeros(1, 1, 4, 4, dtype=torch.float16))
    assert network.modes == [False, True]
    assert torch.backends.cudnn.allow_tf32


def test_float32_is_not_rounded_while_any_thread_computes_in_it(tf32: None) -> None:
    images, entered, leave = torch.zeros(1), threading.Event(), threading.Event()

    def first() -> None:
        with runner.true_float32(images):
            entered.set()
            leave.wait(120)

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(120)
    with runner.true_float32(images):
        leave.set()
        thread.join()  # the thread that switched it off ends first
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    with pytest.raises(ValueError, match="broken"), runner.true_float32(images):
        raise ValueError("broken")
    assert torch.backends.cudnn.allow_tf32


class _Waiting(torch.nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.passes = how, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        if self.how == "item":
            return images * float(images.max())
        if self.how == "mask":
            return images[images > 0]
        if self.how == "copy":
            return images.to("meta")  # another device, as the host is for a GPU
        if self.how == "fails" and self.passes > 1:
            raise RuntimeError("fails")
        return images + 1


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Imitate CUDA graphs; return the captures that were started."""
    begun: list[str] = []

    class Stream:
        def __init__(self, *_: object) -> None: ...

        def wait_stream(self, _: object) -> None: ...

    @contextmanager
    def capture(*_: object, **__: object) -> Any:
        begun.append("capture")
        yield

    for name, value in {
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda _: nullcontext(),
        "device": lambda _: nullcontext(),
        "CUDAGraph": object,
        "graph": capture,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    cuda_capture._stream.cache_clear()
    yield begun
    cuda_capture._stream.cache_clear()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("item", "operator _local_scalar_dense makes the host wait"),
        ("mask", "operator index makes the host wait"),
        ("copy", "operator _to_copy copies between the host and the GPU"),
        ("fails", "fails"),
    ],
)
def test_a_network_that_waits_for_the_host_is_never_captured(
    graphs: list[str], caplog: pytest.LogCaptureFixture, how: str, reason: str
) -> None:
    caplog.set_level("INFO")
    network, known = _Waiting(how), runner._Graphs(threading.get_ident())
    for side in (4, 4, 4, 8, 8, 8):
        assert known.graph_for(network, torch.ones(1, 1, side, side)) is None
    assert not graphs
    assert network.passes == 2  # the second shape is not tried
    messages = [record.message for record in caplog.records if "CUDA graph" in record.message]
    assert len(messages) == 1
    assert f"none for this network from now on: {reason}" in messages[0]


@pytest.mark.parametrize("norm", ["instance", "channel"])
def test_networks_of_the_package_are_captured(graphs: list[str], norm: str) -> None:
    network, known = weights_of(RESNET | {"norm": norm}).eval(), runner._Graphs(threading.get_ident())
    images = torch.zeros(1, RESNET["in_channels"], 32, 32)
    with torch.inference_mode():
        captured = [known.graph_for(network, images) is not None for _ in range(3)]
    assert captured == [False, True, True]
    assert graphs == ["capture"]
