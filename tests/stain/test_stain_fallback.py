"""float16 falls back to float32 however a volume is stained: continued, in parts, and by workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.overflow import imitate_gpu
from tests.support.toys import LEVELS, RESNET, colours, toy_model
from tomostain.errors import InputError, InterruptedRunError
from tomostain.io import open_stained, write_stack
from tomostain.stain import StainConfig, StainRequest, cluster, stain_on_workers, stain_volume

OPTIONS: dict[str, Any] = {"config": StainConfig(z_chunk=2), "intensity": LEVELS}
FALLS_BACK = pytest.warns(UserWarning, match="slice 3 along z is not finite in float16 and is stained in float32")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return toy_model(tmp_path / "model", RESNET | {"norm": "channel"})


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    values = np.full((6, 40, 44), 300, np.uint16)
    values[3:5, 10:20, 5:9] = 2000
    write_stack(tmp_path / "volume", values, voxel_um=5.0)
    return tmp_path / "volume"


@pytest.fixture
def expected(model: Path, volume: Path) -> NDArray[np.uint8]:
    return stain_volume(model, volume, device="cpu", **OPTIONS)


@pytest.fixture
def gpu(expected: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    imitate_gpu(monkeypatch)


def _precision(out: Path) -> str:
    return str(open_stained(out).provenance["options"]["precision"])


def _interrupted(model: Path, volume: Path, out: Path, config: StainConfig) -> None:
    stop = iter([False, True])
    with pytest.raises(InterruptedRunError, match="2 of 6 slices"):
        stain_volume(model, volume, out, should_stop=lambda: next(stop), config=config, intensity=LEVELS)


def test_a_volume_that_is_continued(
    model: Path, volume: Path, expected: NDArray[np.uint8], gpu: None, tmp_path: Path
) -> None:
    out = tmp_path / "out.ome.zarr"
    _interrupted(model, volume, out, OPTIONS["config"])
    with FALLS_BACK:
        stain_volume(model, volume, out, **OPTIONS)
    assert _precision(out) == "float16"
    np.testing.assert_array_equal(colours(out), expected)


def test_every_part(model: Path, volume: Path, expected: NDArray[np.uint8], gpu: None, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    stain_volume(model, volume, out, part=(1, 3), **OPTIONS)
    with FALLS_BACK:
        stain_volume(model, volume, out, part=(2, 3), **OPTIONS)
    with pytest.warns(UserWarning, match="slice 4 along z"):
        stain_volume(model, volume, out, part=(3, 3), **OPTIONS)
    np.testing.assert_array_equal(colours(out), expected)


def test_requested_float16_is_not_replaced(model: Path, volume: Path, gpu: None, tmp_path: Path) -> None:
    out, config = tmp_path / "out.ome.zarr", StainConfig(z_chunk=2, precision="float16")
    _interrupted(model, volume, out, config)
    with pytest.raises(InputError, match=r"slice 3 along z: .*set `precision=float32`"):
        stain_volume(model, volume, out, config=config, intensity=LEVELS)


def _stain(how: str, model: Path, volume: Path, out: Path, options: dict[str, Any]) -> None:
    """Stain a volume in one of several ways that divide the work."""
    if how == "by workers":
        stain_on_workers(StainRequest(model, volume, out, **options))
        return
    if how == "continued":
        stop = iter([False, True])
        with pytest.raises(InterruptedRunError, match="2 of 6 slices"):
            stain_volume(model, volume, out, should_stop=lambda: next(stop), **options)
    for part in [(1, 1)] if how == "continued" else [(1, 3), (2, 3), (3, 3)]:
        stain_volume(model, volume, out, part=part, **options)


@pytest.mark.parametrize("how", ["continued", "in parts", "by workers"])
def test_the_uncertainty(model: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    other = toy_model(tmp_path / "other", RESNET | {"norm": "channel"}, seed=1)

    def options(name: str) -> dict[str, Any]:
        return {"uncertainty": tmp_path / f"{name}-map.ome.zarr", "ensemble": [other], **OPTIONS}

    stain_volume(model, volume, tmp_path / "cpu.ome.zarr", device="cpu", **options("cpu"))
    imitate_gpu(monkeypatch)
    _submitting(monkeypatch, _Client())
    out = tmp_path / "gpu.ome.zarr"
    with pytest.warns(UserWarning, match=r"slice [34] along z is not finite in float16 and is stained in float32"):
        _stain(how, model, volume, out, options("gpu"))
    assert _precision(out) == "float16"
    for name in ("", "-map"):
        expected = colours(tmp_path / f"cpu{name}.ome.zarr")
        assert expected.std() > 2
        np.testing.assert_array_equal(colours(tmp_path / f"gpu{name}.ome.zarr"), expected)


GPU, OLD_GPU, NO_GPU = (True, "float16"), (True, "float32"), (False, "float32")
"""What workers answer about their device."""


class _Client:
    """Stains in this process what is submitted to workers."""

    def __init__(self, *devices: tuple[bool, str], is_idle: bool = False) -> None:
        self.devices, self.is_idle = devices or (GPU, GPU), is_idle

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {"one": None}}

    def submit(self, function: Any, *arguments: Any, pure: bool) -> object:
        if not self.is_idle:
            function(*arguments)
        return object()

    def run(self, function: Any) -> dict[str, tuple[bool, str]]:
        assert function is cluster._device_of_worker
        return {f"worker {index}": device for index, device in enumerate(self.devices)}


def _submitting(monkeypatch: pytest.MonkeyPatch, client: _Client) -> None:
    @contextmanager
    def connected(*_: object) -> Iterator[_Client]:
        yield client

    monkeypatch.setattr(cluster, "_client", connected)
    monkeypatch.setattr(cluster, "_wait", lambda *_: None)


@pytest.mark.parametrize("is_started", [False, True])
@pytest.mark.parametrize("scheduler", [None, "tcp://cluster:8786"])
def test_workers_with_gpus(
    model: Path,
    volume: Path,
    expected: NDArray[np.uint8],
    gpu: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_started: bool,
    scheduler: str | None,
) -> None:
    out = tmp_path / "out.ome.zarr"
    if is_started:
        _interrupted(model, volume, out, OPTIONS["config"])
    _submitting(monkeypatch, _Client())
    with FALLS_BACK:
        stain_on_workers(StainRequest(model, volume, out, **OPTIONS), scheduler=scheduler)
    assert _precision(out) == "float16"
    np.testing.assert_array_equal(colours(out), expected)


def test_workers_with_gpus_do_not_replace_requested_float16(
    model: Path, volume: Path, gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _submitting(monkeypatch, _Client())
    config = StainConfig(z_chunk=2, precision="float16")
    request = StainRequest(model, volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    with pytest.raises(InputError, match=r"slice 3 along z: .*set `precision=float32`"):
        stain_on_workers(request)


def test_workers_of_which_some_have_no_gpu(
    model: Path,
    volume: Path,
    expected: NDArray[np.uint8],
    gpu: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _submitting(monkeypatch, _Client(GPU, NO_GPU))
    out = stain_on_workers(StainRequest(model, volume, tmp_path / "out.ome.zarr", **OPTIONS), scheduler="tcp://c:1")
    assert _precision(out) == "float32"
    np.testing.assert_array_equal(colours(out), expected)


@pytest.mark.parametrize(
    ("devices", "precision"), [((GPU, GPU), "float16"), ((GPU, OLD_GPU), "float32"), ((OLD_GPU, OLD_GPU), "float32")]
)
def test_only_the_workers_have_gpus(
    model: Path,
    volume: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    devices: tuple[tuple[bool, str], ...],
    precision: str,
) -> None:
    def no_cuda(*_: object) -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.get_device_capability", no_cuda)
    monkeypatch.setattr("torch.cuda.get_device_name", no_cuda)
    monkeypatch.setattr("torch.cuda.mem_get_info", no_cuda)
    _submitting(monkeypatch, _Client(*devices, is_idle=True))
    out = tmp_path / "out.ome.zarr"
    request = StainRequest(model, volume, out, **OPTIONS)
    with pytest.raises(InputError, match="3 z chunks are still being stained"):
        stain_on_workers(request, scheduler="tcp://cluster:8786")
    assert request.with_begun_precision().config.precision == precision


@pytest.mark.parametrize(
    ("chosen", "capability", "answer"),
    [("cuda", (8, 0), GPU), ("cuda", (7, 0), GPU), ("cuda", (6, 1), OLD_GPU), ("cpu", None, NO_GPU)],
)
def test_a_worker_answers_with_its_device(
    monkeypatch: pytest.MonkeyPatch, chosen: str, capability: tuple[int, int] | None, answer: tuple[bool, str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: chosen == "cuda")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: capability)
    assert cluster._device_of_worker() == answer


def test_workers_on_cpus_refuse_float16_before_the_volume_is_created(
    model: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", dict, raising=False)
    config = StainConfig(z_chunk=2, precision="float16")
    request = StainRequest(model, volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS, device="cpu")
    with pytest.raises(InputError, match="this CPU has no instructions for it"):
        stain_on_workers(request)
    assert not (tmp_path / "out.ome.zarr").exists()
