"""Failures of the machine during a training, as errors that say what to do: a full disk, and no memory."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tomostain.errors import InputError
from tomostain.memory import is_out_of_memory


@contextmanager
def explain_failures(run: Path) -> Iterator[None]:
    """Re-raise a full disk and an allocation that failed, on the CPU or a GPU, as `InputError`.

    Raises
    ------
    InputError
        Naming the run and how to continue. Other errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{run}: the disk or your quota is full; the last complete checkpoint is preserved. Free some space and "
            "continue with `resume=True`"
        ) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split(". ")[0].split())[:160]
        raise InputError(
            f"{run}: not enough memory for this training ({reason or type(error).__name__}); lower batch or patch_px "
            "of the recipe, or set accumulate or checkpoint_activations. The last complete checkpoint is preserved"
        ) from None
