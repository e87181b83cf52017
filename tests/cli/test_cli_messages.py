"""Messages of the library name parameters; the command line shows options. Older option names still work."""

import pytest
import typer

from tomostain.cli.main import run
from tomostain.cli.verbs import REGISTRY, Verb, load_verb
from tomostain.errors import InputError


@pytest.fixture
def doctor_raises(monkeypatch):
    """Return a function that replaces the verb `doctor` by one with a renamed option, which raises an error."""

    def install(error: Exception | None = None) -> None:
        def doctor(uncertainty: str = typer.Option("none"), voxel_um: float = 1.0) -> None:
            """Raise an error."""
            if error is not None:
                raise error
            typer.echo(f"uncertainty: {uncertainty}")

        load_verb("doctor")
        monkeypatch.setitem(REGISTRY, "doctor", Verb("doctor", doctor, 140, {"--doubt": "--uncertainty"}))

    return install


def test_a_parameter_in_backticks_is_shown_as_an_option(doctor_raises, fails):
    doctor_raises(InputError("scan: give `voxel_um`; see the key `other`"))
    assert fails("doctor") == "tomostain: scan: give --voxel-um; see the key other\n"


def test_a_parameter_that_the_message_does_not_name_is_put_first(doctor_raises, fails):
    doctor_raises(InputError("5 is too large", parameter="voxel_um"))
    assert fails("doctor") == "tomostain: --voxel-um: 5 is too large\n"


@pytest.mark.parametrize("arguments", [["--doubt", "map"], ["--doubt=map"]])
def test_an_older_option_works_with_a_warning(doctor_raises, capsys, arguments):
    doctor_raises()
    assert run(["doctor", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.out == "uncertainty: map\n"
    assert captured.err == "warning: --doubt is now --uncertainty\n"


def test_an_older_option_is_not_in_the_help(doctor_raises, capsys):
    doctor_raises()
    run(["doctor", "--help"])
    text = capsys.readouterr().out
    assert "--uncertainty" in text
    assert "--doubt" not in text
