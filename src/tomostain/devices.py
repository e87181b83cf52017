"""The choice of a device: the only place where a name becomes a torch device."""

import logging

import torch

from tomostain.errors import InputError

logger = logging.getLogger(__name__)

TYPES = ("cpu", "cuda")
"""The types of devices that tomostain computes on."""


def choose_device(device: str | torch.device) -> torch.device:
    """Return a device by its name.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` (the first GPU, or the CPU where there is none), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``. A
        `torch.device` of these types is returned as it is.

    Raises
    ------
    InputError
        If it is not a device, names a GPU that does not exist, or is of a type that tomostain does not compute on, such
        as ``"xpu"`` or ``"mps"``.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if isinstance(device, torch.device):
        if device.type not in TYPES:
            raise _not_a_device(device)
        return device
    if device == "auto":
        chosen = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    else:
        chosen = _named(device)
    logger.info("device: %s (device=%s)", chosen, device)
    return chosen


def has_bf16(device: torch.device) -> bool:
    """Return whether a device is a GPU that multiplies bf16 numbers without emulation: Ampere or newer."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def has_float16(device: torch.device) -> bool:
    """Return whether a device is a GPU that multiplies float16 numbers faster than float32: Volta or newer."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)


def gpu_memory(device: str | torch.device) -> int | None:
    """Return the memory of the chosen GPU, bytes; None if the choice is a CPU."""
    chosen = choose_device(device)
    return int(torch.cuda.get_device_properties(chosen).total_memory) if chosen.type == "cuda" else None


def name_device(device: str | torch.device) -> str:
    """Return the chosen device with the name of the GPU, for one line to the user.

    Examples
    --------
    >>> name_device("cpu")
    'cpu'
    """
    chosen = choose_device(device)
    return f"{chosen} ({torch.cuda.get_device_name(chosen)})" if chosen.type == "cuda" else str(chosen)


def _not_a_device(device: object) -> InputError:
    return InputError(f"`device={device}`: not a device; give auto, cpu, cuda or cuda:N", parameter="device")


def _named(device: str) -> torch.device:
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise _not_a_device(device) from None
    if chosen.type not in TYPES:
        raise _not_a_device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"`device={device}`: torch finds {torch.cuda.device_count()} GPU(s); set `device=cpu`", parameter="device"
        )
    return chosen
