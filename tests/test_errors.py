"""Warnings name the line of the user, and go to the function that listens in their thread."""

import contextlib
import inspect
import threading
import warnings

import pytest

from tomostain.errors import InputError, OutOfDistributionWarning, warn_user, warnings_to
from tomostain.evaluate import EvaluateConfig
from tomostain.ood.check import VolumeReport
from tomostain.register.config import RegisterConfig
from tomostain.stain import StainConfig, stain_volume
from tomostain.train import load_recipe

LAYERS = """
from contextlib import contextmanager
from tomostain.errors import OutOfDistributionWarning, warn_user

def outer(number):
    with layer(number):
        pass

@contextmanager
def layer(number):
    inner(number)
    yield

def inner(number):
    if number:
        return inner(number - 1)
    warn_user("unlike the training data", OutOfDistributionWarning)
"""


def this_line():
    """Return the number of the line that calls this function."""
    return inspect.currentframe().f_back.f_lineno


@pytest.mark.parametrize("number", [0, 1, 5])
def test_the_line_of_the_user_is_named_through_any_number_of_functions(number):
    of_package = {"__name__": "tomostain.layers"}
    exec(compile(LAYERS, "layers.py", "exec"), of_package)
    with pytest.warns(OutOfDistributionWarning) as caught:
        of_package["outer"](number), (line := this_line())
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EvaluateConfig(doubt=True), "`doubt` is now `uncertainty`"),
        (lambda: EvaluateConfig.model_validate({"doubt": True}), "`doubt` is now `uncertainty`"),
        (lambda: RegisterConfig(most_strain=0.1), "most_strain is now max_strain"),
        (lambda: RegisterConfig.from_dict({"most_strain": 0.1}), "most_strain is now max_strain"),
        (lambda: StainConfig(slab=8), "`slab` is now `z_chunk`"),
        (lambda: StainConfig.from_dict({"slab": 8}), "`slab` is now `z_chunk`"),
        (lambda: stain_volume("none", "none.tif", "none", levels=1), "`levels` is now `intensity`"),
        (lambda: load_recipe("tomostain-slab"), "the recipe 'tomostain-slab' is now"),
    ],
)
def test_the_line_of_the_user_is_named_for_an_older_name(call, message):
    """Python shows a `DeprecationWarning` only if the line is of the program that the user runs."""
    with pytest.warns(DeprecationWarning, match=message) as caught, contextlib.suppress(InputError):
        call()
    assert (caught[0].filename, caught[0].lineno) == (__file__, call.__code__.co_firstlineno)


def test_a_stack_level_counts_from_the_method():
    report = VolumeReport("scan", grey_distance=9.0, grey_limit=1.0)

    def issue(stacklevel=None):
        report.warn(stacklevel), lines.append(this_line())

    lines = []
    for stacklevel in (None, 1, 2):
        with pytest.warns(OutOfDistributionWarning, match="scan: its grey values") as caught:
            issue(stacklevel), lines.append(this_line())
        expected = {None: lines[-2], 1: lines[-2], 2: lines[-1]}[stacklevel]
        assert (caught[0].filename, caught[0].lineno) == (__file__, expected)


def test_a_listener_gets_the_warnings_of_its_thread_only():
    outer, inner, others = [], [], []

    def other():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_user("other thread", OutOfDistributionWarning)
        others.extend(str(each.message) for each in caught)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with warnings_to(outer.append):
            warn_user("first", OutOfDistributionWarning)
            with warnings_to(inner.append):
                warn_user("second", OutOfDistributionWarning)
            warn_user("first", OutOfDistributionWarning)
            with pytest.raises(UserWarning, match="of another kind"):
                warn_user("of another kind", UserWarning)
    with warnings_to(outer.append):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(300)
    assert (outer, inner, others) == (["first", "first"], ["second"], ["other thread"])
    with pytest.warns(OutOfDistributionWarning, match="afterwards"):
        warn_user("afterwards", OutOfDistributionWarning)
