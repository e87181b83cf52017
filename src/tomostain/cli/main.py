"""The entry point: one Typer application, and the one place where errors become exit codes.

Exit codes: 0 done, 2 the input or the options are wrong (one line on stderr), 3 a registration that is not sure,
1 a fault of ours, 130 interrupted.
"""

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

import typer

import tomostain
from tomostain.cli.messages import as_options
from tomostain.cli.verbs import VerbGroup
from tomostain.errors import (
    InputError,
    InterruptedRunError,
    OutOfDistributionWarning,
    PeerProcessError,
    RegistrationUncertainError,
)

app = typer.Typer(
    name="tomostain",
    cls=VerbGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tomostain {tomostain.__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress bars."),
    threads: int = typer.Option(0, "--threads", min=0, help="CPU threads for the networks (0: let torch decide)."),
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Virtual histology for X-ray tomography: a greyscale µCT volume goes in, the same volume comes out stained.

    The usual way: prepare pairs of µCT and histology, train on them, evaluate, stain whole volumes.
    To see all of it at once on made-up specimens:  tomostain demo

    Options before the verb hold for every verb, for example:  tomostain --debug stain MODEL INPUT OUT
    """
    context.obj = {"debug": debug, "quiet": quiet, "threads": threads}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code the module's head names."""
    _wait_without_spinning()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _wait_without_spinning() -> None:
    """Have the threads of GNU OpenMP sleep soon while they wait for each other, unless somebody has said how to wait.

    They spin for milliseconds by default. Where other work has some of the cores, what they wait for is not running,
    and a training step takes minutes in place of seconds (docs/explanation/speed.md). It is read when torch is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    debug = "--debug" in arguments
    try:
        # "--debug" is understood wherever it stands: nobody types it first.
        rest = [word for word in arguments if word != "--debug"]
        with warnings.catch_warnings():
            warnings.simplefilter("always", OutOfDistributionWarning)
            warnings.showwarning = _warn
            code = app(args=(["--debug"] if debug else []) + rest, standalone_mode=False)
    except (InputError, InterruptedRunError, typer.Abort, KeyboardInterrupt, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        return _tell(error, _command(arguments))
    except PeerProcessError:
        return 1
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of typer's, whose base class moves between its versions
            return _say(f"{error.format_message()} (see: tomostain {_verb(error)}--help)", 2)
        if debug:
            traceback.print_exc()
        fault = f"a fault of ours: {type(error).__name__}: {error}"
        return _say(f"{fault}. Run again with --debug and report what it shows", 1)
    if code == 130:  # typer makes this of Ctrl-C
        return _say("interrupted", 130)
    return code if isinstance(code, int) else 0


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show our own warnings as a sentence; others as Python does."""
    own = issubclass(category, OutOfDistributionWarning)
    text = (
        f"warning: {as_options(str(message), _command(sys.argv))}\n"
        if own
        else warnings.formatwarning(message, category, filename, lineno, line)
    )
    typer.echo(text, err=True, nl=False)


def _command(arguments: Sequence[str]) -> Any:
    """Return the command that the first known word names, or None."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    try:
        return next((commands[word] for word in arguments if word in commands), None)
    except InputError:  # a verb of another package that cannot be imported
        return None


def _tell(error: BaseException, command: Any = None) -> int:
    """Say an expected error in one line; return its exit code."""
    if isinstance(error, InputError):
        return _say(as_options(str(error), command), 3 if isinstance(error, RegistrationUncertainError) else 2)
    if isinstance(error, InterruptedRunError):
        return _say(as_options(str(error), command), 130)
    if isinstance(error, MemoryError):
        return _say(f"not enough memory ({error}); work on a smaller part, or with smaller batches or slabs", 2)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _say(
                f"{where}the disk is full; free some space or write elsewhere, then run the same command again", 2
            )
        return _say(f"{where}{error.strerror or error}", 2)
    return _say("interrupted", 130)


def _say(message: str, code: int) -> int:
    print(f"tomostain: {' '.join(message.split())}", file=sys.stderr)
    return code


def _verb(error: Exception) -> str:
    """Return the verb a usage error belongs to, with a space behind it; empty for none."""
    context = getattr(error, "ctx", None)
    return f"{context.info_name} " if context is not None and context.parent is not None else ""
