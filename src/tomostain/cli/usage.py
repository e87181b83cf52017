"""Messages about words that the command line does not know: options, and options at the wrong place."""

from collections.abc import Sequence

from typer.core import TyperCommand


def usage_line(error: Exception, root: object, command: TyperCommand | None) -> str:
    """Return what is wrong with a command line, what was probably meant, and where the help is.

    Parameters
    ----------
    error : usage error of typer
    root : the group of all verbs
    command : TyperCommand or None
        The verb, if one was recognised.
    """
    verb = f"{command.name} " if command is not None else ""
    see = f"(see: tomostain {verb}--help)"
    option = getattr(error, "option_name", "")
    if not hasattr(error, "possibilities") or not option:
        return f"{error.format_message()} {see}"  # type: ignore[attr-defined]
    if command is not None and option in _options(root) and option != "--help":
        return f"{option} is an option of all verbs: give it before the verb, tomostain {option} … {verb}… {see}"
    near = _similar(option, _options(root if command is None else command))
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    if not option.startswith("--"):
        hint = f"; a path that begins with '-' is written ./{option}…"
    return f"No such option: {option}{hint} {see}"


def _options(command: object) -> list[str]:
    """Return the options of a command, without those that the help hides."""
    parameters = [each for each in getattr(command, "params", ()) if not getattr(each, "hidden", False)]
    words = [word for each in parameters for word in (*each.opts, *each.secondary_opts) if word.startswith("--")]
    return [*words, "--help"]


def _similar(option: str, known: Sequence[str]) -> list[str]:
    """Return the known options that are similar, the most similar first, at most two.

    Examples
    --------
    >>> _similar("--sed", ["--seed", "--size", "--help"])
    ['--seed', '--size']
    """
    import difflib

    return difflib.get_close_matches(option, known, n=2, cutoff=0.6)
