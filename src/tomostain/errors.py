"""Errors that are the user's to mend: one line that names the thing, its value and the way out."""


class InputError(Exception):
    """The input or the options are wrong. The command line prints it as one line and exits with code 2.

    Write the message as a full sentence that names the file or option, the value found and what to do instead.
    """


class NotSure(InputError):
    """The input is fine, but what was asked for could not be found with confidence. Exits with code 3.

    The message says what was written to decide by, and which hints help.
    """


class Interrupted(Exception):
    """The user pressed Ctrl-C and the work was put away safely. The command line exits with code 130.

    The message says where the work was saved and how to go on.
    """


class ToldElsewhere(Exception):
    """Another process of the same training failed and tells why. The command line says nothing and exits with 1."""


class StrangeInput(UserWarning):
    """What was given is unlike all that a model knows; it is worked on nevertheless."""
