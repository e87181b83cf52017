"""Where log messages go: to stderr with ``--verbose``, to a file with ``--log-file``."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Messages of this logger are printed to stderr anyway, so `--verbose` does not print them again.
SHOWN = "tomostain.cli.shown"

_FILE_FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"


class _Stderr(logging.Handler):
    """Prints to what `sys.stderr` is at that time: progress bars replace it while they are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != SHOWN:
            print(f"{record.levelname.lower()}: {self.format(record)}", file=sys.stderr)


def start_logging(verbose: int, file: Path | None) -> list[logging.Handler]:
    """Add handlers to the logger ``tomostain``.

    Parameters
    ----------
    verbose : int
        0: nothing on stderr. 1: messages of the level INFO and above. 2 or more: DEBUG too.
    file : Path, optional
        Receives INFO and above, or DEBUG if `verbose` is 2 or more, with time stamps. Existing content is preserved.

    Returns
    -------
    list of logging.Handler
        To be removed with `stop_logging`.
    """
    handlers: list[logging.Handler] = []
    if file is not None:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
        handlers[-1].setFormatter(logging.Formatter(_FILE_FORMAT))
    if verbose:
        handlers.append(_Stderr())
    logger = logging.getLogger("tomostain")
    for handler in handlers:
        logger.addHandler(handler)
    if handlers:
        logger.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    return handlers


def stop_logging(handlers: list[logging.Handler]) -> None:
    """Remove and close handlers of `start_logging`."""
    logger = logging.getLogger("tomostain")
    for handler in handlers:
        logger.removeHandler(handler)
        handler.close()
    if handlers:
        logger.setLevel(logging.NOTSET)


@contextmanager
def logging_session() -> Iterator[list[logging.Handler]]:
    """Yield a list. The handlers that are added to it are removed at the end."""
    handlers: list[logging.Handler] = []
    try:
        yield handlers
    finally:
        stop_logging(handlers)
