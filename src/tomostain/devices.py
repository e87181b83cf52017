"""Which device: the one place where a name becomes a torch device."""

import torch

from tomostain.errors import InputError


def choose_device(device: str) -> torch.device:
    """Return the device by its name; ``auto`` is a GPU if there is one, else the CPU.

    Raises
    ------
    InputError
        If the name is no device, or a GPU is asked for that is not there.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise InputError(f"--device {device}: not a device; give auto, cpu, cuda or cuda:N") from None
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {device}: torch finds {torch.cuda.device_count()} GPU(s) here; use --device cpu")
    return place
