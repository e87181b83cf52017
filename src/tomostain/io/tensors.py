"""Named tensors in a file of safetensors, which cannot contain code."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tomostain.io.atomic import atomic_file

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Write tensors atomically; an existing file is replaced."""
    from safetensors.torch import save

    with atomic_file(path) as temporary:
        # `save_file` makes a file that only its owner may read.
        temporary.write_bytes(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))


def read_tensors(path: Path) -> "dict[str, Tensor] | None":
    """Read the tensors of `write_tensors` to the CPU; None if there is no such file or it has another format."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (FileNotFoundError, SafetensorError):
        return None
