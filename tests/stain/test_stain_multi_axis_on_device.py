"""Staining along three axes as on a GPU: what is stored, where the host waits, and the bytes of a CPU.

On the CPU the same code runs as on a GPU; `staged` makes a volume go through it.
"""

import dataclasses
import functools
import multiprocessing
import threading
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
from tomostain.imaging.intensity import normalise_ct
from tomostain.io import Volume, open_volume, write_stack
from tomostain.progress import silent
from tomostain.stain import StainConfig, StainJob, Translator, load_translator, plan_volume, stain_volume
from tomostain.stain.chunk import begin_chunk, read_chunk
from tomostain.stain.multi_axis import OtherAxes
from tomostain.stain.pipeline import InFlight
from tomostain.stain.request import make_request
from tomostain.stain.slice_stainer import PendingColours, SliceStainer
from tomostain.stain.transfer import Transfer, Uploaded, in_memory_order

CHANNEL = RESNET | {"norm": "channel"}
CONFIG = StainConfig(patch_px=64, z_chunk=7, planes="zyx")
SHAPE = (37, 40, 34)
STAGES = pytest.mark.parametrize("stage", ["turning", "staining along y", "staining along x", "staining"])
FRESH = multiprocessing.get_context("forkserver")
PATIENCE_S = 120.0


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stain on the CPU as on a GPU."""
    monkeypatch.setattr(StainJob, "is_batched", True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_model(tmp_path_factory.mktemp("models") / "model", CHANNEL)


@pytest.fixture(scope="module")
def values() -> NDArray[np.uint16]:
    return grey_values(SHAPE)


@pytest.fixture(scope="module")
def expected(model: Path, values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The result of a CPU."""
    return stain_volume(model, _volume(values), config=CONFIG, intensity=LEVELS, device="cpu")


def _volume(values: NDArray[Any]) -> Volume:
    return Volume.from_array(values, voxel_um=5.0, name="array")


def _job(model: Path | Translator, values: NDArray[Any], **options: Any) -> StainJob:
    options = {"config": CONFIG, "intensity": LEVELS} | options
    return StainJob.open(make_request(model, _volume(values), None, **options))


@pytest.mark.parametrize("planes", ["zyx", "y"])
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "int16", "float32"])
def test_every_type_of_grey_values_gives_the_bytes_of_a_cpu(
    model: Path, values: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch, dtype: str, planes: str
) -> None:
    volume = _volume((values // 4 if dtype == "uint8" else values).astype(dtype))
    options: dict[str, Any] = {"config": CONFIG.model_copy(update={"planes": planes}), "intensity": LEVELS}
    on_cpu = stain_volume(model, volume, **options)
    monkeypatch.setattr(StainJob, "is_batched", True)
    np.testing.assert_array_equal(stain_volume(model, volume, **options), on_cpu)


@pytest.mark.parametrize(
    "changes", [{"fuse": "mean"}, {"fuse": "weighted"}, {"gaussian_sigma": 0.6}, {"statistics": "volume"}]
)
def test_every_option_gives_the_bytes_of_a_cpu(
    tmp_path: Path, values: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    model = toy_model(tmp_path / "model", RESNET if "statistics" in changes else CHANNEL)
    options: dict[str, Any] = {"config": CONFIG.model_copy(update=changes), "intensity": LEVELS}
    on_cpu = stain_volume(model, _volume(values), **options)
    monkeypatch.setattr(StainJob, "is_batched", True)
    stain_volume(model, _volume(values), tmp_path / "out.ome.zarr", **options)
    np.testing.assert_array_equal(colours(tmp_path / "out.ome.zarr"), on_cpu)


def test_a_normalised_volume_gives_the_bytes_of_a_cpu(
    model: Path, values: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = _volume(normalise_ct(values, LEVELS))
    on_cpu = stain_volume(model, volume, config=CONFIG, intensity="none")
    monkeypatch.setattr(StainJob, "is_batched", True)
    np.testing.assert_array_equal(stain_volume(model, volume, config=CONFIG, intensity="none"), on_cpu)


@pytest.mark.parametrize(
    ("dtype", "sigma", "stored"),
    [("uint8", 0, "uint8"), (">u2", 0, "uint16"), ("uint16", 0.6, None), ("float32", 0, None)],
)
def test_the_turned_volume_takes_the_grey_values_as_they_are_unless_normalised_ones_are_smaller(
    model: Path, values: NDArray[np.uint16], tmp_path: Path, staged: None, dtype: str, sigma: float, stored: str | None
) -> None:
    grey = (values // 4 if dtype == "uint8" else values).astype(dtype)
    config = CONFIG.model_copy(update={"gaussian_sigma": sigma})
    job = _job(model, grey, config=config)
    axes = OtherAxes(tmp_path / "axes", job)
    axes.make(silent)
    turned = axes.turned.read(slice(None))
    assert turned.dtype == np.dtype(stored or "uint16")
    assert (tmp_path / "axes" / ("ct" if stored is None else "grey") / "array").is_dir()
    if not sigma:
        np.testing.assert_array_equal(turned, normalise_ct(grey, LEVELS) if stored is None else grey)
    plan = plan_volume(model, _volume(grey), tmp_path / "out", config=config, intensity=LEVELS)
    assert plan.scratch_bytes == (turned.itemsize + 6) * grey.size


def test_the_colours_of_a_chunk_are_waited_for_once_where_they_are_written(
    model: Path,
    values: NDArray[np.uint16],
    expected: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each wait ends when the next chunk has begun; if nothing overlapped, it would not end."""
    begin, result, waits = SliceStainer.begin, PendingColours.result, Counter[str]()
    begun: list[threading.Event] = []
    number_of: dict[int, int] = {}
    per_stage = [-(-SHAPE[1] // 32), -(-SHAPE[2] // 32), -(-SHAPE[0] // 7)]
    last_of_stage = np.cumsum(per_stage) - 1

    def counting_begin(self: SliceStainer, *arguments: Any) -> PendingColours:
        pending = begin(self, *arguments)
        number_of[id(pending)] = len(begun)
        if begun:
            begun[-1].set()
        begun.append(threading.Event())
        return pending

    def waiting_result(self: PendingColours) -> NDArray[np.uint8]:
        number = number_of[id(self)]
        assert number in last_of_stage or begun[number].wait(PATIENCE_S)
        waits[threading.current_thread().name.split("_")[0]] += 1
        return result(self)

    monkeypatch.setattr(StainJob, "is_batched", True)
    monkeypatch.setattr(StainJob, "pieces_in_flight", lambda *_: InFlight(ahead=2, behind=2))
    monkeypatch.setattr(SliceStainer, "begin", counting_begin)
    monkeypatch.setattr(PendingColours, "result", waiting_result)
    stain_volume(model, _volume(values), tmp_path / "out.ome.zarr", config=CONFIG, intensity=LEVELS)
    assert waits == {"tomostain-write": sum(per_stage)}
    np.testing.assert_array_equal(colours(tmp_path / "out.ome.zarr"), expected)


def test_colours_are_fused_before_the_only_copy_to_the_host(
    model: Path, values: NDArray[np.uint16], expected: NDArray[np.uint8], staged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: Counter[str] = Counter()
    upload, download = Transfer.upload, Transfer.download

    def counting_upload(self: Transfer, values: NDArray[Any], *arguments: Any, **options: Any) -> Uploaded:
        copies[f"{values.ndim}D {values.dtype}"] += 1
        return upload(self, values, *arguments, **options)

    def counting_download(self: Transfer, values: torch.Tensor, target: torch.Tensor) -> Any:
        copies[str(values.dtype)] += 1
        return download(self, values, target)

    def fused_on_the_host(*_: Any) -> Any:
        raise AssertionError("fused on the host")

    monkeypatch.setattr(Transfer, "upload", counting_upload)
    monkeypatch.setattr(Transfer, "download", counting_download)
    monkeypatch.setattr("tomostain.stain.chunk.fuse", fused_on_the_host)
    np.testing.assert_array_equal(stain_volume(model, _volume(values), config=CONFIG, intensity=LEVELS), expected)
    # Two chunks each along y and x, six along z, which upload those along y and x too. On a CPU, a batch is a slice.
    assert copies == {"3D uint16": 10, "4D uint8": 12, "torch.uint8": sum(SHAPE), "torch.int64": 10}


def test_a_device_may_get_the_values_in_any_order_of_axes(
    model: Path, values: NDArray[np.uint16], expected: NDArray[np.uint8], staged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU gets them as they are in memory: those of slices across x with x last."""
    upload, orders = Transfer.upload, set()

    def unsorted(self: Transfer, values: NDArray[Any], *arguments: Any, **options: Any) -> Uploaded:
        uploaded = upload(self, values, *arguments, **options)
        view, axes = in_memory_order(values)
        uploaded.values = uploaded.values.permute(np.argsort(axes).tolist()).contiguous().permute(axes)
        np.testing.assert_array_equal(uploaded.values.numpy().view(values.dtype), values)
        assert view.flags.c_contiguous
        orders.add(tuple(axes))
        return uploaded

    monkeypatch.setattr(Transfer, "upload", unsorted)
    np.testing.assert_array_equal(stain_volume(model, _volume(values), config=CONFIG, intensity=LEVELS), expected)
    # Grey values across z, y and x, and colours along y and x.
    assert orders == {(0, 1, 2), (1, 0, 2), (2, 0, 1), (1, 0, 2, 3), (1, 2, 0, 3)}


def test_nothing_waits_for_the_device_until_the_colours_are_used(
    model: Path, values: NDArray[np.uint16], tmp_path: Path, staged: None
) -> None:
    job = _job(model, values)
    axes = OtherAxes(tmp_path / "axes", job)
    axes.make(silent)
    chunk = read_chunk(job, 7, 14, axes)
    begin_chunk(job, chunk, lambda _: None)  # the receptive field is measured once
    counted = count_operators(lambda: begin_chunk(job, chunk, lambda _: None))
    assert counted.total > 50
    assert counted.synchronisations == 0


def test_a_chunk_across_y_alone_needs_no_grey_values(
    model: Path, values: NDArray[np.uint16], tmp_path: Path, staged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(model, values, config=CONFIG.model_copy(update={"planes": "y"}))
    axes = OtherAxes(tmp_path / "axes", job)
    axes.make(silent)
    monkeypatch.setattr(Transfer, "upload", lambda *_: pytest.fail("uploaded"))
    monkeypatch.setattr("tomostain.stain.chunk.filtered_chunk", lambda *_: pytest.fail("read"))
    reports: list[int] = []
    stained = begin_chunk(job, read_chunk(job, 7, 14, axes), reports.append).result()
    assert (stained.shape, reports) == ((1, 7, *SHAPE[1:], 3), [7])


def _half(exact: Translator, *, auto: bool) -> Translator:
    """Return a translator in half precision, as far as a CPU can imitate one."""
    return dataclasses.replace(
        exact,
        network=Overflowing(exact.network, 0.9),
        precision="float16",
        in_float32=functools.cache(lambda: exact),
        may_fall_back=auto,
    )


def _with_bright_slices() -> NDArray[np.uint16]:
    values = np.full(SHAPE, 300, np.uint16)
    values[3:5, 10:20, 5:9] = 2000
    return values


def test_output_that_is_not_finite_names_slice_and_axis_and_is_not_stored(
    model: Path, tmp_path: Path, staged: None
) -> None:
    half = _half(load_translator(model, "cpu"), auto=False)
    out, config = tmp_path / "out.ome.zarr", CONFIG.model_copy(update={"precision": "float16"})
    with pytest.raises(InputError, match=r"slice 10 along y: .* not finite numbers; .*set `precision=float32`"):
        stain_volume(half, _volume(_with_bright_slices()), out, config=config, intensity=LEVELS)
    written = {name: {path.name for path in (tmp_path / ".out.ome.zarr.planes" / name).glob("*.done")} for name in "yx"}
    assert "000000.done" not in written["y"]
    assert not written["x"]
    assert {path.name for path in (tmp_path / ".out.ome.zarr.planes" / "grey").glob("*.done")} == {
        "000000.done",
        "000032.done",
    }


def test_slices_along_every_axis_are_stained_in_float32_where_half_precision_overflows(
    model: Path, staged: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    exact, volume = load_translator(model, "cpu"), _volume(_with_bright_slices())
    in_float32 = stain_volume(exact, volume, config=CONFIG, intensity=LEVELS)
    with pytest.warns(UserWarning, match="slice 10 along y is not finite in float16 and is stained in float32"):
        stained = stain_volume(_half(exact, auto=True), volume, config=CONFIG, intensity=LEVELS)
    np.testing.assert_array_equal(stained, in_float32)
    fallen = [record.message for record in caplog.records if "is not finite in" in record.message]
    assert {axis for axis in "zyx" if any(f"along {axis}" in message for message in fallen)} == set("zyx")


class BreakOffError(Exception):
    pass


def _break_off(at: str) -> Any:
    def progress(label: str, done: int, total: int) -> None:
        if label == at and done == 1:
            raise BreakOffError

    return progress


@STAGES
def test_interrupted_at_any_stage_it_continues_to_the_same_bytes(
    model: Path,
    values: NDArray[np.uint16],
    expected: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    monkeypatch.setattr(StainJob, "is_batched", True)
    monkeypatch.setattr(StainJob, "pieces_in_flight", lambda *_: InFlight(ahead=2, behind=3))
    out, options = tmp_path / "out.ome.zarr", {"config": CONFIG, "intensity": LEVELS}
    with pytest.raises(BreakOffError):
        stain_volume(model, _volume(values), out, progress=_break_off(stage), **options)
    reports: list[tuple[str, int, int]] = []
    stain_volume(model, _volume(values), out, progress=lambda *what: reports.append(what), **options)
    np.testing.assert_array_equal(colours(out), expected)
    if stage != "staining":
        assert next(what for what in reports if what[0] == stage)[1] == 1  # finished work is not repeated


@STAGES
@pytest.mark.parametrize("first", ["GPU", "CPU"])
def test_a_volume_may_be_continued_on_the_other_device(
    model: Path,
    values: NDArray[np.uint16],
    expected: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    first: str,
) -> None:
    """Stored and normalised grey values have the same type here, but are not mixed."""
    out, options = tmp_path / "out.ome.zarr", {"config": CONFIG, "intensity": LEVELS}
    monkeypatch.setattr(StainJob, "is_batched", first == "GPU")
    with pytest.raises(BreakOffError):
        stain_volume(model, _volume(values), out, progress=_break_off(stage), **options)
    monkeypatch.setattr(StainJob, "is_batched", first == "CPU")
    stain_volume(model, _volume(values), out, **options)
    np.testing.assert_array_equal(colours(out), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["out.ome.zarr"]


def test_a_stop_between_two_chunks_is_reported(
    model: Path, values: NDArray[np.uint16], tmp_path: Path, staged: None
) -> None:
    asked = iter([False] * 6)
    with pytest.raises(InterruptedRunError):
        stain_volume(
            model,
            _volume(values),
            tmp_path / "out.ome.zarr",
            config=CONFIG,
            intensity=LEVELS,
            should_stop=lambda: next(asked, True),
        )


def _in_a_child(model: Path, volume: Path, out: Path, number: int) -> None:
    torch.set_num_threads(1)
    if number != 3:  # the third process is on a CPU
        StainJob.is_batched = True  # type: ignore[method-assign,assignment]
    stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS, part=(number, 3))


def test_processes_on_both_devices_share_the_arrays(
    model: Path, values: NDArray[np.uint16], expected: NDArray[np.uint8], tmp_path: Path
) -> None:
    volume, out = tmp_path / "volume", tmp_path / "out.ome.zarr"
    write_stack(volume, values, voxel_um=5.0)
    assert open_volume(volume).dtype == np.uint16
    children = [FRESH.Process(target=_in_a_child, args=(model, volume, out, number)) for number in (1, 2, 3)]
    for child in children:
        child.start()
    for child in children:
        child.join(600)
    assert [child.exitcode for child in children] == [0, 0, 0]
    np.testing.assert_array_equal(colours(out), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, {"fuse": "mean"}, {"fuse": "weighted"}, {"planes": "x"}, {"z_chunk": 3}])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_gpu_agrees_with_the_cpu(tmp_path: Path, changes: dict[str, Any], dtype: str) -> None:
    network = {"name": "unet", "in_channels": 1, "width": 16, "downs": 4, "norm": "channel"}
    model, volume = toy_model(tmp_path / "model", network), _volume(grey_values((41, 90, 70)).astype(dtype))
    config = StainConfig(**{"z_chunk": 7, "planes": "zyx", "precision": "float32"} | changes)
    on_cpu = stain_volume(model, volume, config=config, intensity=LEVELS, device="cpu")
    stain_volume(model, volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS, device="cuda")
    assert on_cpu.std() > 5
    assert np.abs(colours(tmp_path / "out.ome.zarr").astype(int) - on_cpu).max() <= 1


@pytest.mark.gpu
def test_on_a_gpu_the_host_does_not_wait_for_fused_colours(tmp_path: Path) -> None:
    model = toy_model(tmp_path / "model", CHANNEL)
    job = _job(load_translator(model, "cuda", precision="float32"), grey_values((20, 64, 70)))
    axes = OtherAxes(tmp_path / "axes", job)
    axes.make(silent)
    chunks = [read_chunk(job, start, start + 7, axes) for start in (0, 7)]
    fused = [begin_chunk(job, chunk, lambda _: None).result().copy() for chunk in chunks]
    chunks = [read_chunk(job, start, start + 7, axes) for start in (0, 7)]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = [begin_chunk(job, chunk, lambda _: None) for chunk in chunks]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for begun, known in zip(pending, fused, strict=True):
        assert np.abs(begun.result().astype(int) - known).max() <= 1
