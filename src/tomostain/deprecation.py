"""Older names that keep working, with a deprecation warning."""

import functools
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def renamed_method(name: str) -> Callable[..., Any]:
    """Return a method that calls the method `name` of its object, with a deprecation warning.

    Parameters
    ----------
    name : str
        ``"part.method"`` is the method of an attribute.

    Examples
    --------
    >>> class Sampler:
    ...     def original(self, number):
    ...         return number
    ...     given = renamed_method("original")
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     Sampler().given(3), str(caught[0].message)
    (3, 'this method of Sampler is now original')
    """

    def call(self: object, *arguments: Any, **options: Any) -> Any:
        warnings.warn(f"this method of {type(self).__name__} is now {name}", DeprecationWarning, stacklevel=2)
        return attrgetter(name)(self)(*arguments, **options)

    return call


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that finds attributes by their older names.

    Parameters
    ----------
    module : str
        ``__name__`` of the module.
    names : mapping of str to str
        Older name → name in the module, or → ``"package.module:name"`` where it has moved.

    Returns
    -------
    callable
        Raises AttributeError for any other name.

    Examples
    --------
    >>> get = renamed("tomostain.errors", {"NotSure": "RegistrationUncertainError"})
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     get("NotSure").__name__, str(caught[0].message)
    ('RegistrationUncertainError', 'tomostain.errors.NotSure is now RegistrationUncertainError')
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(":")
        shown = f"{home}.{new}" if home else new
        warnings.warn(f"{module}.{name} is now {shown}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(home or module), new)

    return get


def renamed_parameters(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator: a function also takes keyword arguments by their older names, with a deprecation warning.

    Parameters
    ----------
    **names : str
        Older name = name.

    Examples
    --------
    >>> @renamed_parameters(slab="z_chunk")
    ... def thickness(*, z_chunk):
    ...     return z_chunk
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     thickness(slab=3), str(caught[0].message)
    (3, '`slab` of thickness is now `z_chunk`')
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*arguments: P.args, **options: P.kwargs) -> T:
            for old in names.keys() & options.keys():
                message = f"`{old}` of {function.__name__} is now `{names[old]}`"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                options[names[old]] = options.pop(old)
            return function(*arguments, **options)

        return call

    return decorate
