"""The entry point: the Typer application, and the only place where errors become exit codes.

Exit codes: 0 success, 1 internal error, 2 wrong input or options (one line on stderr), 3 uncertain registration,
130 interrupted by Ctrl-C or stopped at a safe place by a signal, 143 ended by SIGTERM.
"""

import logging
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import typer
from typer.core import TyperCommand

import tomostain
from tomostain.cli.interruption import EndedBySignal, end_by_signals
from tomostain.cli.log import SHOWN, logging_session, start_logging
from tomostain.cli.messages import as_options, error_line
from tomostain.cli.usage import usage_line
from tomostain.cli.verbs import VerbGroup
from tomostain.errors import (
    ComputationWarning,
    DeprecatedNameWarning,
    InputError,
    InterruptedRunError,
    OutOfDistributionWarning,
    PeerProcessError,
    RegistrationUncertainError,
)
from tomostain.interrupts import NOT_BEGUN, end_at_signals

logger = logging.getLogger(__name__)

# Global flags without a value that are accepted after the verb, too.
_ANYWHERE = ("--debug", "--verbose", "-v", "-vv", "--quiet", "-q")

# Words that people type instead of an option: `tomostain help stain`.
_WORDS = {"help": "--help", "version": "--version"}

app = typer.Typer(
    name="tomostain",
    cls=VerbGroup,
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    pretty_exceptions_enable=False,
)


def _show_version(show: bool) -> None:
    if show:
        typer.echo(f"tomostain {tomostain.__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Show no progress bars."),
    verbose: int = typer.Option(
        0,
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Show decisions, such as the device (-vv: more).",
    ),
    log_file: Path | None = typer.Option(None, "--log-file", help="File to which these messages are appended."),
    threads: int = typer.Option(0, "--threads", min=0, help="CPU threads for the networks (0: PyTorch's default)."),
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Virtual histology for X-ray tomography: stain a greyscale µCT volume as histology would.

    The usual way: prepare pairs of µCT and histology, train on them, evaluate, stain whole volumes.
    To see all steps on synthetic specimens:  tomostain demo
    To show which stages the current folder contains:  tomostain

    Options before the verb apply to every verb, for example:  tomostain --log-file run.log stain MODEL INPUT OUT
    """
    if context.invoked_subcommand is None:
        from tomostain.cli.overview import overview

        typer.echo(overview())
        return
    context.obj.update(debug=debug, quiet=quiet, threads=threads)
    context.obj["handlers"] += start_logging(verbose, log_file)
    logger.info("tomostain %s: %s", tomostain.__version__, shlex.join(context.obj["arguments"]))
    logger.info("CPU threads: %s", threads or "default of PyTorch")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. The exit codes are listed at the top of this module."""
    end_at_signals()
    _wait_without_spinning()
    arguments = sys.argv[1:] if arguments is None else arguments
    if os.environ.get("_TOMOSTAIN_COMPLETE") == "complete_bash":
        from tomostain.cli.completion import words_of_bash

        with words_of_bash(os.environ):
            sys.exit(run(arguments))
    code = run(arguments)
    end_by_signals()
    sys.exit(code)


def _wait_without_spinning() -> None:
    """Make threads of GNU OpenMP sleep while they wait for each other, unless the environment says how to wait.

    They spin for milliseconds by default. Where other programs use some of the cores, the awaited thread may not run,
    and a training step takes minutes instead of seconds (docs/explanation/speed.md). OpenMP reads the variable when
    torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    with logging_session() as handlers, warnings.catch_warnings():
        for category in (OutOfDistributionWarning, DeprecatedNameWarning):
            warnings.simplefilter("always", category)
        warnings.simplefilter("default", ComputationWarning)  # once for all models and slices
        warnings.showwarning = _warn
        return _run(arguments, handlers)


def _run(arguments: Sequence[str], handlers: list[logging.Handler]) -> int:
    debug = "--debug" in arguments
    first = [word for word in arguments if word in _ANYWHERE]
    remaining = [word for word in arguments if word not in _ANYWHERE]
    if remaining and remaining[0] in _WORDS:
        remaining = [*remaining[1:2], _WORDS[remaining[0]]] if remaining[0] == "help" else [_WORDS[remaining[0]]]
    try:
        state = {"handlers": handlers, "arguments": list(arguments)}
        code = app(args=first + remaining, standalone_mode=False, obj=state)
    except (InputError, InterruptedRunError, typer.Abort, KeyboardInterrupt, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        return _report(error, _command(arguments))
    except EndedBySignal as error:
        if debug:
            traceback.print_exc()
        return _print(error.sentence, 128 + error.number)
    except PeerProcessError:
        return 1
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of typer's, whose base class moves between its versions
            return _print(usage_line(error, typer.main.get_command(app), _verb_of(error, arguments)), 2)
        if debug:
            traceback.print_exc()
        from tomostain.memory import is_out_of_memory  # not for the help

        if is_out_of_memory(error):
            return _print(_out_of_memory(error), 2)
        message = f"internal error: {type(error).__name__}: {error}"
        return _print(f"{message}. Run again with --debug and report the output", 1)
    if code == 130:  # typer's code for Ctrl-C
        return _print(NOT_BEGUN, 130)
    return code if isinstance(code, int) else 0


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of this package as one sentence, others as Python does."""
    text = warnings.formatwarning(message, category, filename, lineno, line)
    if issubclass(category, OutOfDistributionWarning | DeprecatedNameWarning):
        text = f"warning: {as_options(str(message), _command(sys.argv))}\n"
        logging.getLogger(SHOWN).warning("%s", text.strip())
    typer.echo(text, err=True, nl=False)


def _command(arguments: Sequence[str]) -> TyperCommand | None:
    """Return the command that the first known word names, or None."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    try:
        return next((commands[word] for word in arguments if word in commands), None)
    except InputError:  # a verb of another package that cannot be imported
        return None


def _verb_of(error: Exception, arguments: Sequence[str]) -> TyperCommand | None:
    """Return the verb of a usage error; None if the words before the verb are wrong."""
    context = getattr(error, "ctx", None)
    if context is None:
        return _command(arguments)
    command: TyperCommand | None = context.command if context.parent is not None else None
    return command


def _report(error: BaseException, command: TyperCommand | None = None) -> int:
    """Print an expected error in one line; return its exit code."""
    if isinstance(error, InputError):
        return _print(error_line(error, command), 3 if isinstance(error, RegistrationUncertainError) else 2)
    if isinstance(error, InterruptedRunError):
        return _print(as_options(str(error), command), 130)
    if isinstance(error, MemoryError):
        return _print(_out_of_memory(error), 2)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        from tomostain.io.full_disk import is_full_disk  # not for the help

        if is_full_disk(error):
            return _print(
                f"{where}the disk is full; free some space or write elsewhere, then run the same command again", 2
            )
        return _print(f"{where}{error.strerror or error}", 2)
    return _print(NOT_BEGUN, 130)


def _out_of_memory(error: BaseException) -> str:
    text = str(error).strip()
    reason = text.splitlines()[0][:200] if text else type(error).__name__
    return f"not enough memory ({reason}); use a smaller region, smaller batches or a smaller z chunk"


def _print(message: str, code: int) -> int:
    line = " ".join(message.split())
    print(f"tomostain: {line}", file=sys.stderr)
    logging.getLogger(SHOWN).error("%s (exit code %d)", line, code)
    return code
