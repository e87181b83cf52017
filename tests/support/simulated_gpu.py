"""A GPU that computes nothing: tensors on it have a shape, a type and a device, but no values.

Code for a GPU runs on a machine without one. An operator on tensors of two devices is an error, as on a GPU. Copies
between host and device, and what makes the host wait for the device, are counted. Operators run at once; which stream
they belong to, and which stream waits for which, is recorded on demand. Results that arrive on the host are
zeros. Only code without gradients runs: torch's autograd needs a device that exists. The simulation is that of the
thread that enters it.
"""

import ctypes
import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

import tomostain

GPU = torch.device("cuda", 0)
_PACKAGE = str(Path(tomostain.__file__).parent)
MEMORY = 80 * 10**9


class Act(NamedTuple):
    """Something that happened on a stream.

    Attributes
    ----------
    what : str
        "operator", "upload", "download", "record_stream", "wait_stream"; for events "record", "wait_event", and
        "synchronize" on the host.
    stream : str
        "default", "stream 1", …, or "host".
    about : set
        The memory of the tensors, the name of the other stream, or that of the event.
    """

    what: str
    stream: str
    about: frozenset[int | str]


class SimulatedGpu(TorchDispatchMode):
    """Counts what happens between the host and a simulated GPU.

    Attributes
    ----------
    waits : list of str
        What made the host wait, with module and function: reads of numbers, and copies that are not asynchronous.
    uploads, downloads : list of tuple of int
        Shapes of the tensors that were copied to and from the device.
    operators : int
        Number of operators on the device.
    acts : list of Act
        What happened on which stream, in order, after `record_acts`. Views are no operators.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.uploads: list[tuple[int, ...]] = []
        self.downloads: list[tuple[int, ...]] = []
        self.operators = 0
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._pinned: dict[int, object] = {}
        self.acts: list[Act] = []
        self.streams: list[str] = ["default"]
        self._records_acts = False
        self._memory: dict[int, object] = {}

    def forget(self) -> None:
        """Begin to count from zero."""
        self.waits, self.uploads, self.downloads, self.operators = [], [], [], 0

    def record_acts(self) -> None:
        """Record what happens on streams from now on."""
        self._records_acts = True

    def memory_of(self, tensor: Tensor) -> int:
        """Return a number of the memory of a tensor on the device, which all its views share."""
        memory = tensor.untyped_storage()
        self._memory[memory._cdata] = memory  # as long as it exists, no other has its address
        return memory._cdata

    def act(self, what: str, about: object, stream: str | None = None) -> None:
        """Record what happens on a stream, by default on the current one; `about` is a name, or has tensors."""
        if self._records_acts:
            tensors = [leaf for leaf in tree_leaves(about) if isinstance(leaf, FakeTensor)]
            names = [about] if isinstance(about, str) else [self.memory_of(tensor) for tensor in tensors]
            self.acts.append(Act(what, self.streams[-1] if stream is None else stream, frozenset(names)))

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator."""
        kwargs = dict(kwargs or {})
        name = str(function).removeprefix("aten.")
        leaves = tree_leaves((args, kwargs))
        on_device = any(isinstance(leaf, FakeTensor) for leaf in leaves)
        if name.startswith("copy_.") and on_device:
            return self._copy(*args, **kwargs)
        if name.startswith("_to_copy.") and on_device and _leaves_device(kwargs):
            return self._download(args[0], kwargs)
        if name.startswith("_local_scalar_dense") and on_device:
            self._wait(name)
            return False if args[0].dtype == torch.bool else 0.0 if args[0].is_floating_point() else 0
        if name.startswith("_fused_adam") and on_device:
            return self._check_devices(args)  # torch has no shapes for it; it works in place
        if on_device or any(isinstance(leaf, torch.device) and leaf.type == "cuda" for leaf in leaves):
            is_upload = name.startswith("_to_copy.") and not on_device
            if is_upload:
                self._count_upload(args[0], asynchronous=bool(kwargs.get("non_blocking")))
            self.operators += not name.startswith("prim.")
            args, kwargs = tree_map(self._without_values, (args, kwargs))
            with self.fake:
                result = function(*args, **kwargs)
            if not name.startswith("prim.") and not _is_view(function):
                self.act("upload" if is_upload else "operator", result if is_upload else (args, kwargs, result))
            return result
        pinned = kwargs.pop("pin_memory", False)
        with _disable_current_modes():
            result = function(*args, **kwargs)
        if pinned:
            memory = result.untyped_storage()
            self._pinned[memory.data_ptr()] = memory  # as long as it exists, no other has its address
        return result

    def _copy(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        if isinstance(target, FakeTensor) and not isinstance(source, FakeTensor):
            self._count_upload(source, asynchronous=non_blocking)
        if not isinstance(target, FakeTensor):
            self.downloads.append(tuple(source.shape))
            self.act("download", source)
            if not (non_blocking and self._is_pinned(target)):
                self._wait("copy to the host")
            with _disable_current_modes():
                return target.zero_()
        self.operators += 1
        self.act("operator", (target, source))
        with self.fake:
            return target.copy_(self._without_values(source))

    def _check_devices(self, args: Any) -> None:
        self.operators += 1
        devices = {leaf.device for leaf in tree_leaves(args) if isinstance(leaf, Tensor)}
        assert devices == {GPU}, f"tensors on {devices}"

    def _wait(self, what: str) -> None:
        frame = sys._getframe()
        while frame.f_back is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
            frame = frame.f_back
        self.waits.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}: {what}")

    def _is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned

    def _without_values(self, value: object) -> object:
        if not isinstance(value, Tensor) or isinstance(value, FakeTensor):
            return value
        with self.fake:
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)

    def _download(self, source: Tensor, options: dict[str, Any]) -> Tensor:
        self.downloads.append(tuple(source.shape))
        self._wait("copy to the host")
        with _disable_current_modes():
            return torch.zeros(tuple(source.shape), dtype=options.get("dtype") or source.dtype)

    def _count_upload(self, source: Tensor, *, asynchronous: bool) -> None:
        if source.numel() == 1 and source.ndim == 0:
            return  # a number is an argument of the kernel
        self.uploads.append(tuple(source.shape))
        if not (asynchronous and self._is_pinned(source)):
            self._wait("copy to the device")


def _is_view(function: Any) -> bool:
    aliases = [argument.alias_info for argument in function._schema.arguments]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _leaves_device(options: dict[str, Any]) -> bool:
    return options.get("device") is not None and torch.device(options["device"]).type == "cpu"


# Positions in torch's table of what switches between the devices of a type.
_CUDA, _META, _TYPES = 1, 14, 22


@contextmanager
def _device_guard() -> Iterator[None]:
    """Let torch switch to the GPU, as it does for many methods: by the functions of "meta", which do nothing."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    table = (ctypes.c_void_p * _TYPES).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    assert not table[_CUDA], "this torch has GPUs"
    table[_CUDA] = table[_META]
    try:
        yield
    finally:
        table[_CUDA] = None


def is_possible() -> bool:
    """Return whether this torch has no GPUs, and the table where `_device_guard` expects it."""
    try:
        with _device_guard():
            return True
    except (AssertionError, OSError, ValueError):
        return False


def _apply(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Convert a module; torch would exchange the parameters themselves, which tensors without values do not allow."""
    for child in module.children() if recurse else ():
        _apply(child, function)
    with torch.no_grad():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(function(value), value.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = function(buffer)
    return module


class _Event:
    simulated: SimulatedGpu
    number = itertools.count(1)

    def __init__(self, **_: object) -> None:
        self.name = f"event {next(self.number)}"

    def record(self, stream: "_Stream | None" = None) -> None:
        self.simulated.act("record", self.name, None if stream is None else stream.name)

    def wait(self, stream: "_Stream | None" = None) -> None:
        self.simulated.act("wait_event", self.name, None if stream is None else stream.name)

    def synchronize(self) -> None:
        self.simulated.act("synchronize", self.name, "host")

    def query(self) -> bool:
        return True


class _Stream:
    simulated: SimulatedGpu
    device = GPU
    number = itertools.count(1)

    def __init__(self, *_: object, name: str = "", **__: object) -> None:
        self.name = name or f"stream {next(self.number)}"

    def wait_stream(self, other: "_Stream") -> None:
        self.simulated.act("wait_stream", other.name, self.name)

    def wait_event(self, event: _Event) -> None:
        event.wait(self)

    def synchronize(self) -> None: ...


@contextmanager
def _current(simulated: SimulatedGpu, stream: _Stream) -> Iterator[None]:
    simulated.streams.append(stream.name)
    try:
        yield
    finally:
        simulated.streams.pop()


class _Generator(torch.Generator):
    """A generator of the CPU, for any device."""

    def __new__(cls, *_: object, **__: object) -> "_Generator":
        return super().__new__(cls)


class _Graph:
    def replay(self) -> None: ...


class _Inline:
    """A pool of threads that calls in the thread of the caller, in which the simulation is."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, function: Callable[..., Any], *args: Any, **options: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **options))
        except Exception as error:
            future.set_exception(error)
        return future

    def map(self, function: Callable[..., Any], *values: Any) -> list[Any]:
        return list(map(function, *values))

    def shutdown(self, **_: object) -> None: ...

    def __enter__(self) -> "_Inline":
        return self

    def __exit__(self, *_: object) -> None: ...


# Modules whose threads use the device.
_POOLS = ("tomostain.stain.precision_check", "tomostain.stain.pipeline", "tomostain.io.parallel")


@contextmanager
def simulated_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedGpu]:
    """Simulate a GPU ``cuda:0`` in this thread."""
    simulated = SimulatedGpu()
    stream = type("Stream", (_Stream,), {"simulated": simulated})
    for name, value in {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_capability": lambda *_: (9, 0),
        "get_device_name": lambda *_: "simulated GPU",
        "mem_get_info": lambda *_: (MEMORY, MEMORY),
        "memory_reserved": lambda *_: 0,
        "memory_allocated": lambda *_: 0,
        "empty_cache": lambda: None,
        "set_device": lambda *_: None,
        "is_bf16_supported": lambda *_, **__: True,
        "current_device": lambda: 0,
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *_: None,
        "synchronize": lambda *_: None,
        "current_stream": lambda *_: stream(name=simulated.streams[-1]),
        "Stream": stream,
        "Event": type("Event", (_Event,), {"simulated": simulated}),
        "CUDAGraph": _Graph,
        "stream": lambda chosen: nullcontext() if chosen is None else _current(simulated, chosen),
        "device": lambda *_: nullcontext(),
        "graph": lambda *_, **__: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, on: simulated.act("record_stream", tensor, on.name))
    monkeypatch.setattr(nn.Module, "_apply", _apply)
    monkeypatch.setattr(FakeTensor, "tolist", lambda tensor: tensor.cpu().tolist())  # one copy, as of a GPU
    monkeypatch.setattr(torch, "Generator", _Generator)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: torch.empty_like(tensor, pin_memory=True).copy_(tensor))
    for module in _POOLS:
        monkeypatch.setattr(f"{module}.ThreadPoolExecutor", _Inline)
    with _device_guard(), simulated.fake, simulated:
        torch._C._set_only_lift_cpu_tensors(True)  # new tensors are made on the host, then an operator copies them
        try:
            yield simulated
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
