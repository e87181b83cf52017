"""The registry of verbs. Each verb is one module of this package; other packages add verbs by an entry point.

A module ``tomostain/cli/NAME.py`` defines the verb ``NAME``: a function with the decorator `verb`. Another package
declares an entry point in the group ``tomostain.verbs``, whose name is the verb and whose object is such a function.
A module is imported when its verb runs, or for ``tomostain --help``, which shows the first sentence of its docstring.
"""

import functools
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from tomostain.cli.interruption import EndedBySignal, Output, ignore_signals, raise_signals, raised_signal
from tomostain.cli.options import expanded
from tomostain.errors import InputError, InterruptedRunError

ENTRY_POINTS = "tomostain.verbs"

# The modules of this package that define no verb.
_SHARED = {
    "common",
    "completion",
    "interruption",
    "json_output",
    "log",
    "main",
    "messages",
    "options",
    "overview",
    "progress",
    "sections_export",
    "usage",
    "verbs",
}
# In the examples of a help text, a line that starts with one of these is a command; others continue the text.
_COMMANDS = ("tomostain", "torchrun", "srun")

F = TypeVar("F", bound=Callable[..., Any])
Continues = Callable[[Mapping[str, Any]], bool]


def _begins_again(values: Mapping[str, Any]) -> bool:
    """Return False: after an interruption, the command begins again."""
    return False


@dataclass(frozen=True)
class Verb:
    """A verb of the command line.

    Parameters
    ----------
    name : str
        The word that the user types.
    function : callable
        What runs. Its parameters are declared as Typer describes, its docstring is the help text. Many options can be
        grouped in a class (`tomostain.cli.options.option_group`).
    order : int
        Position in ``tomostain --help``: lower numbers first.
    renamed : mapping of str to str
        Older names of options, and the options that replace them.
    continues : callable
        Takes the values of the parameters by name; returns whether the same command continues after an interruption.
    output : str
        The parameter that names the file or folder to write. If it is a list, its last element does.
    """

    name: str
    function: Callable[..., Any]
    order: int
    renamed: Mapping[str, str] = field(default_factory=dict)
    continues: "Continues" = _begins_again
    output: str = "out"


# Filled by `verb` when a module is imported.
REGISTRY: dict[str, Verb] = {}


def verb(
    *,
    examples: str = "",
    name: str | None = None,
    order: int = 1000,
    renamed: Mapping[str, str] | None = None,
    continues: Continues = _begins_again,
    output: str = "out",
) -> Callable[[F], F]:
    """Register a function as a verb of the command line.

    Parameters
    ----------
    examples : str
        Command lines, one per line. They are appended to the help text as they are.
    name : str, optional
        The verb, by default the name of the function with dashes for underscores.
    order : int
        Position in ``tomostain --help``: lower numbers first. By default at the end.
    renamed : mapping of str to str, optional
        Older names of options, such as ``{"--doubt": "--uncertainty"}``. They still work, and print a warning.
    continues : callable, optional
        Takes the values of the parameters by name; returns whether the same command continues after an interruption.
        It must import nothing, since an import may be what was interrupted. By default the command begins again. A
        verb with the option ``--resume`` continues with it, and needs no function.
    output : str
        The parameter that names the file or folder to write. If it is a list, its last element does.

    Examples
    --------
    >>> @verb(examples="tomostain greet Ada", name="greet")
    ... def greet(name: str = typer.Argument(help="Whom to greet.")) -> None:
    ...     '''Greet a person.'''
    ...     typer.echo(f"Hello {name}")
    >>> REGISTRY.pop("greet").order
    1000
    """

    def decorate(function: F) -> F:
        word = name or function.__name__.replace("_", "-")
        if examples:
            function.__doc__ = _with_examples(function.__doc__ or "", examples)
        REGISTRY[word] = Verb(word, function, order, dict(renamed or {}), continues, output)
        return function

    return decorate


def _with_examples(help_text: str, examples: str) -> str:
    """Append examples to a help text, as lines that are not wrapped."""
    lines = [line.strip() for line in examples.strip().splitlines()]
    block = "\n".join(f"      {line}" if line.startswith(_COMMANDS) else f"    {line}" for line in lines)
    return f"{help_text.rstrip()}\n\n    \b\n    Examples:\n{block}\n    "


def built_in_verbs() -> list[str]:
    """Return the names of the verbs of this package in the order of the help. Imports their modules."""
    for name in _modules():
        importlib.import_module(f"tomostain.cli.{name}")
    built_in = {name.replace("_", "-") for name in _modules()}
    return sorted(built_in & REGISTRY.keys(), key=lambda word: (REGISTRY[word].order, word))


def added_verbs() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the entry points of other packages by the name of the verb. Does not import them.

    A built-in verb takes precedence over an entry point of the same name.
    """
    built_in = {name.replace("_", "-") for name in _modules()}
    points = _entry_points(tuple(sys.path))
    return {point.name: point for point in points if point.name not in built_in}


@functools.lru_cache(maxsize=1)
def _entry_points(path: tuple[str, ...]) -> list[importlib.metadata.EntryPoint]:
    """Return the entry points of verbs by name. It reads the metadata of all packages, so once for each `sys.path`."""
    del path
    return sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name)


def load_verb(name: str) -> Verb:
    """Return a verb. Imports the module that defines it.

    Raises
    ------
    KeyError
        If there is no such verb.
    InputError
        If it belongs to another package and cannot be imported.
    """
    module = name.replace("-", "_")
    if module in _modules():
        importlib.import_module(f"tomostain.cli.{module}")
        return REGISTRY[name]
    point = added_verbs()[name]
    try:
        function = point.load()
    except Exception as error:
        raise InputError(f"{name}: cannot load this verb from {point.value} ({_package(point)}): {error}") from error
    known = next((entry for entry in REGISTRY.values() if entry.function is function), None)
    return known or Verb(name, function, order=1000)


def _modules() -> list[str]:
    package = sys.modules[__package__]
    return [module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in _SHARED]


def _package(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown package"


def _describe(name: str, point: importlib.metadata.EntryPoint) -> str:
    """Return the first sentence about a verb of another package, and the name of the package. Imports its module."""
    package = f"from the package {_package(point)}"
    try:
        text = inspect.getdoc(load_verb(name).function) or ""
    except InputError:
        return f"Cannot be loaded ({package})."
    sentence = re.split(r"(?<=\.)\s|\n\n", text.strip(), maxsplit=1)[0].rstrip(".")
    return f"{' '.join(sentence.split())} ({package})." if sentence else package


class VerbCommand(TyperCommand):
    """A command that accepts older names of its options, and says how to go on after an interruption."""

    entry: Verb | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace the older names of options, with a warning, and parse the arguments."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [self._current(word) for word in args[:end]] + args[end:])

    def _current(self, word: str) -> str:
        option, equals, value = word.partition("=")
        renamed = {} if self.entry is None else self.entry.renamed
        if option not in renamed:
            return word
        typer.echo(f"warning: {option} is now {renamed[option]}", err=True)
        return f"{renamed[option]}{equals}{value}"

    def invoke(self, ctx: Any) -> Any:
        """Run the verb. From here on, signals are exceptions.

        Raises
        ------
        EndedBySignal
            After Ctrl-C or SIGTERM, saying what is left and what to do next.
        """
        if self.entry is None:
            return super().invoke(ctx)
        output = Output.of(self.entry.output, ctx.params)
        try:
            raise_signals()
            return super().invoke(ctx)
        except InterruptedRunError:
            raise
        except BaseException as error:
            if (number := raised_signal(error)) is None:
                raise
            ignore_signals()
            continues = self.entry.continues(ctx.params)
            sentence = output.describe_interruption(ctx.params, continues=continues)
            raise EndedBySignal(number, sentence) from error


class _Commands(MutableMapping[str, Any]):
    """The commands of the application by name. A command is built when it is asked for."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            single, entry = typer.Typer(add_completion=False, rich_markup_mode=None), load_verb(name)
            single.command(name, cls=VerbCommand)(expanded(entry.function))
            command = typer.main.get_command(single)
            assert isinstance(command, VerbCommand)
            command.entry = entry
            self._built[name] = command
        return self._built[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        del self._built[name]

    def __iter__(self) -> Iterator[str]:
        yield from built_in_verbs()
        yield from added_verbs()

    def __len__(self) -> int:
        return sum(1 for _ in self)


class VerbGroup(TyperGroup):
    """The group of all verbs, which imports a verb when it is used."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the built-in verbs. The help lists the others separately."""
        return built_in_verbs()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the built-in verbs with their first sentence, then the verbs of other packages."""
        super().format_commands(ctx, formatter)
        rows = [(name, _describe(name, point)) for name, point in added_verbs().items()]
        if rows:
            with formatter.section("Commands of other packages"):
                formatter.write_dl(rows)
