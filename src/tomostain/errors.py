"""Errors that the user can correct: one line that names the parameter or file, its value and what to do.

`warn_user` issues the warnings.
"""

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from tomostain.deprecation import renamed


class InputError(ValueError):
    """The input or the options are wrong. The command line prints one line and exits with code 2.

    Write the message as a full sentence that names the file or parameter, the value found and what to do instead. Put
    the names of Python parameters in backticks: the command line shows `` `voxel_um` `` as ``--voxel-um``.

    Parameters
    ----------
    message : str
    parameter : str, optional
        Name of the Python parameter whose value is wrong.

    Examples
    --------
    >>> error = InputError("scan: no voxel size is stated; give `voxel_um`", parameter="voxel_um")
    >>> error.parameter
    'voxel_um'
    """

    def __init__(self, message: str = "", *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class RegistrationUncertainError(InputError):
    """The input is valid, but the section could not be found with confidence. Exits with code 3.

    The message names the files that were written to decide by, and which hints help.

    Parameters
    ----------
    message : str
    candidates : sequence of tomostain.geometry.section.Section
        The best poses, best first.
    """

    def __init__(self, message: str = "", *, candidates: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.candidates = tuple(candidates)


class InterruptedRunError(Exception):
    """A stop was requested and the work was saved. The command line exits with code 130.

    The message says where the work was saved and how to continue.
    """


class PeerProcessError(Exception):
    """Another process of the same distributed training failed and reports why. This one exits with code 1, silently."""


class DeprecatedNameWarning(DeprecationWarning):
    """A file, such as a recipe, uses an older name that still works. The command line shows it."""


class OutOfDistributionWarning(UserWarning):
    """The input is unlike the training data of the model. It is processed nevertheless."""


class DamagedDataWarning(OutOfDistributionWarning):
    """Stored data are damaged, and are made again.

    A subclass of `OutOfDistributionWarning`, which earlier versions used, so that existing filters still work.
    """


class OtherInputWarning(OutOfDistributionWarning):
    """A µCT volume is not the one that was stained. The command line shows it."""


class OtherLevelWarning(OutOfDistributionWarning):
    """A film shows a coarser or finer level than was asked for. The command line shows it."""


class AmbiguousMaskWarning(OutOfDistributionWarning):
    """A mask is inverted, as its file states, which its author may not have meant. The command line shows it."""


class ColourProfileWarning(OutOfDistributionWarning):
    """Colours are converted to sRGB, or a colour profile cannot be used. The command line shows it."""


class ComputationWarning(OutOfDistributionWarning):
    """The device or the precision makes a computation slower or less accurate. The command line shows it once."""


class MovedExclusionWarning(OutOfDistributionWarning):
    """An exclusion that a person drew is kept, but its pair has moved. The command line shows it."""


class OmittedSpecimenWarning(OutOfDistributionWarning):
    """A specimen is left out because its section was not found."""


class PlacementWarning(OutOfDistributionWarning):
    """The position or the directions of a volume cannot be passed on to an output. The command line shows it."""


class SaturationWarning(OutOfDistributionWarning):
    """The matter that is taken for bone is cut off at the top of the grey scale. The command line shows it."""


class SplitWarning(OutOfDistributionWarning):
    """A specimen or a pair may be in training and test set, so that scores are too good. The command line shows it."""


class TrainingLimitWarning(OutOfDistributionWarning):
    """A training is resumed with a limit that it has reached already. The command line shows it."""


# Frames of these packages are not the user's: this one, and those through which its functions call each other.
_NOT_OF_USER = ("tomostain", "contextlib", "pydantic")
_of_thread = threading.local()


def warn_user(message: str, category: type[Warning], stacklevel: int | None = None) -> None:
    """Issue a warning that names the line of the user which called this package, through any number of its functions.

    Parameters
    ----------
    message : str
    category : type of Warning
        The command line shows a subclass of `OutOfDistributionWarning`, and a `DeprecatedNameWarning`, as one sentence.
    stacklevel : int, optional
        As of `warnings.warn`: 1 is the line that calls this function. By default the line of the user.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_user("scan: its mask is inverted", AmbiguousMaskWarning)
    >>> str(caught[0].message)
    'scan: its mask is inverted'
    """
    listener: Callable[[str], object] | None = getattr(_of_thread, "listener", None)
    if listener is not None and issubclass(category, OutOfDistributionWarning):
        listener(message)
    elif stacklevel is not None:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
    else:
        frame = sys._getframe(1)
        while frame.f_back is not None and _module(frame).split(".")[0] in _NOT_OF_USER:
            frame = frame.f_back
        file, registry = frame.f_code.co_filename, frame.f_globals.setdefault("__warningregistry__", {})
        warnings.warn_explicit(message, category, file, frame.f_lineno, _module(frame), registry)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


@contextlib.contextmanager
def warnings_to(listener: Callable[[str], object]) -> Iterator[None]:
    """Give the text of each `OutOfDistributionWarning` of `warn_user` in this thread to a function instead.

    Neither the functions and filters of `warnings` nor other threads matter, and none of them are changed.
    """
    former = getattr(_of_thread, "listener", None)
    _of_thread.listener = listener
    try:
        yield
    finally:
        _of_thread.listener = former


__getattr__ = renamed(
    __name__,
    {
        "NotSure": "RegistrationUncertainError",
        "Interrupted": "InterruptedRunError",
        "ToldElsewhere": "PeerProcessError",
        "StrangeInput": "OutOfDistributionWarning",
    },
)
