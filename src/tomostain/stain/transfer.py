"""Copies between the host and a device that do not wait: pinned memory, and a stream for each direction."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.errors import InputError
from tomostain.io.parallel import in_parallel
from tomostain.memory import format_bytes

# torch converts these unsigned integers on every device; it has few other operators for them.
_SIGNED = {"uint16": (np.int16, torch.int32, 0xFFFF), "uint32": (np.int32, torch.int64, 0xFFFFFFFF)}
_DIRECT = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


@dataclass(eq=False)
class Uploaded:
    """Grey values or colours on a device, in the type in which they are stored.

    Attributes
    ----------
    values : Tensor
        Unsigned integers of 16 and 32 bits as signed ones with the same bits.
    dtype : str
        The type in which they are stored.
    event : torch.cuda.Event or None
        Recorded when the copy ends; None on a CPU.
    target : Tensor of uint8 or None
        Memory of the host for the colours: allocated where the slices are read, because pinned memory takes time.
    others : sequence of Uploaded
        The colours (n, Y, X, 3) of the same slices that were stained along other axes, to fuse with their own.
    on_host : ndarray or None
        The same grey values on the host, if something is computed from them there.
    """

    values: Tensor
    dtype: str
    event: torch.cuda.Event | None = None
    target: Tensor | None = None
    others: Sequence["Uploaded"] = ()
    on_host: NDArray[np.generic] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> torch.Size:
        """Of the values."""
        return self.values.shape

    def take_target(self) -> Tensor | None:
        """Return `target`, once: the next caller needs other memory."""
        target, self.target = self.target, None
        return target

    def wait(self) -> None:
        """Let the current stream wait for the copy; the host does not wait."""
        if self.event is not None:
            stream = torch.cuda.current_stream(self.values.device)
            stream.wait_event(self.event)
            self.values.record_stream(stream)
        for other in self.others:
            other.wait()

    def part(self, first: int, last: int) -> "Uploaded":
        """Return some slices of values that are used on the current stream; without those of other axes."""
        return Uploaded(self.values[first:last], self.dtype)

    def around(self, index: int, count: int) -> "Uploaded":
        """Return one of `count` slices with the neighbours at both sides that all of them have."""
        part = self.part(index, index + 1 + len(self) - count)
        part.others = [each.part(index, index + 1) for each in self.others]
        return part

    def floats(self, first: int, last: int) -> Tensor:
        """Return the grey values of some slices as float32."""
        part = self.values[first:last]
        if self.dtype in _SIGNED:
            _, wide, mask = _SIGNED[self.dtype]
            part = part.to(wide).bitwise_and_(mask)
        return part.to(torch.float32).contiguous()


class Transfer:
    """Copies to and from a device; on a CPU nothing is copied to the device.

    Parameters
    ----------
    device : torch.device
    planar : bool
        Memory for colours has the channels before the rows (`colours`).
    """

    def __init__(self, device: torch.device, *, planar: bool = False) -> None:
        self.device, self.is_gpu, self.planar = device, device.type == "cuda", planar
        self._up = torch.cuda.Stream(device) if self.is_gpu else None
        self._down = torch.cuda.Stream(device) if self.is_gpu else None

    def upload(self, values: NDArray[np.generic], slices: int | None = None, what: str = "grey values") -> Uploaded:
        """Begin to copy grey values to the device; may be called in any thread.

        Parameters
        ----------
        values : ndarray, shape (Z, Y, X), or of colours (Z, Y, X, 3)
            With its axes in any order in memory. A GPU gets them in that order and sorts them when they are used.
        slices : int, optional
            Number of slices to stain: allocate the memory for their colours too.
        what : str
            Name of the values in messages.

        Raises
        ------
        InputError
            If the memory of the GPU does not suffice.
        """
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        name = native.dtype.name
        if name in _SIGNED:
            native = native.view(_SIGNED[name][0])
        elif name not in _DIRECT:
            native, name = native.astype(np.float32), "float32"
        if not self.is_gpu:
            native = np.ascontiguousarray(native)
            return Uploaded(torch.from_numpy(native if native.flags.writeable else native.copy()), name)
        stored, axes = in_memory_order(native)
        with torch.cuda.device(self.device), torch.cuda.stream(self._up):
            pinned = torch.empty(stored.shape, dtype=_torch_type(stored), pin_memory=True)
            in_parallel(lambda pair: np.copyto(*pair), zip(pinned.numpy(), stored, strict=True))
            event = torch.cuda.Event()
            sent = _sent(pinned, self.device, f"{what} of {len(values)} slices").permute(axes)
            event.record(self._up)
        target = None if slices is None else self.colours((slices, *values.shape[1:]))
        return Uploaded(sent, name, event, target)

    def host(self, shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
        """Return memory of the host to which `download` copies."""
        return torch.empty(shape, dtype=dtype, pin_memory=self.is_gpu)

    def colours(self, shape: tuple[int, ...]) -> Tensor:
        """Return memory of the host for the colours of slices (n, Y, X): uint8, shape (n, Y, X, 3)."""
        if not self.planar:
            return self.host((*shape, 3))
        return self.host((shape[0], 3, *shape[1:])).movedim(1, -1)

    def download(self, values: Tensor, target: Tensor) -> torch.cuda.Event | None:
        """Begin to copy results to memory of the host; wait for the event before they are used."""
        if self._down is None:
            target.copy_(values)
            return None
        if self.planar and values.ndim == 4:  # contiguous, so that it is one copy without a buffer
            values, target = values.movedim(-1, 1), target.movedim(-1, 1)
        self._down.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._down):
            target.copy_(values, non_blocking=True)
            values.record_stream(self._down)
            event = torch.cuda.Event(blocking=True)
            event.record(self._down)
        return event

    def active(self) -> AbstractContextManager[object]:
        """Make the device the current one of this thread."""
        return torch.cuda.device(self.device) if self.is_gpu else nullcontext()


def in_memory_order(values: NDArray[np.generic]) -> tuple[NDArray[np.generic], list[int]]:
    """Return a view of an array with its axes in the order of memory, and the axes that turn it back.

    Examples
    --------
    >>> view, axes = in_memory_order(np.zeros((2, 3, 5)).transpose(2, 0, 1))
    >>> view.shape, axes, view.transpose(axes).shape
    ((2, 3, 5), [2, 0, 1], (5, 2, 3))
    """
    order = sorted(range(values.ndim), key=lambda axis: -abs(values.strides[axis]))
    return values.transpose(order), [order.index(axis) for axis in range(values.ndim)]


def _sent(pinned: Tensor, device: torch.device, what: str) -> Tensor:
    """Begin to copy values to a GPU."""
    try:
        return pinned.to(device, non_blocking=True)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()  # blocks of other sizes and streams, which torch holds for later use
    try:
        return pinned.to(device, non_blocking=True)
    except torch.cuda.OutOfMemoryError:
        size = format_bytes(pinned.numel() * pinned.element_size())
        raise InputError(
            f"out of memory on {device}: the {what} need {size}; give a smaller "
            "`z_chunk`, end other programs that use the GPU, or set `device=cpu`",
            parameter="z_chunk",
        ) from None


def _torch_type(values: NDArray[np.generic]) -> torch.dtype:
    kind: torch.dtype = getattr(torch, values.dtype.name)
    return kind
