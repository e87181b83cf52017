"""Errors that the user can correct: one line that names the parameter or file, its value and what to do."""

from collections.abc import Sequence
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


class PlacementWarning(OutOfDistributionWarning):
    """The position or the directions of a volume cannot be passed on to an output. The command line shows it."""


class SplitWarning(OutOfDistributionWarning):
    """A specimen or a pair may be in training and test set, so that scores are too good. The command line shows it."""


__getattr__ = renamed(
    __name__,
    {
        "NotSure": "RegistrationUncertainError",
        "Interrupted": "InterruptedRunError",
        "ToldElsewhere": "PeerProcessError",
        "StrangeInput": "OutOfDistributionWarning",
    },
)
