"""Failures of the machine during a training, as errors that say what to do: a full disk, and no memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from tomostain.errors import InputError
from tomostain.io.full_disk import is_full_disk
from tomostain.memory import is_out_of_memory


@contextmanager
def explain_failures(run: Path | None) -> Iterator[None]:
    """Re-raise a full disk and an allocation that failed, on the CPU or a GPU, as `InputError`.

    Parameters
    ----------
    run : Path or None
        The folder of the training; None if it has none.

    Raises
    ------
    InputError
        Naming the run and how to continue. Other errors pass.
    """
    try:
        yield
    except OSError as error:
        if not is_full_disk(error):
            raise
        if run is None:
            raise InputError(
                f"the temporary folder {gettempdir()}: the disk or your quota is full; give `run`, a folder on another "
                "disk, or set the environment variable TMPDIR",
                parameter="run",
            ) from None
        raise InputError(
            f"{run}: the disk or your quota is full; the last complete checkpoint is preserved. Free some space and "
            "continue with `resume=True`"
        ) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split(". ")[0].split())[:160]
        name, kept = ("", "") if run is None else (f"{run}: ", ". The last complete checkpoint is preserved")
        raise InputError(
            f"{name}not enough memory for this training ({reason or type(error).__name__}); lower batch or patch_px "
            f"of the recipe, or set accumulate or checkpoint_activations{kept}"
        ) from None
