"""Completion in the shell: verbs, options and values, without heavy imports, and its installation."""

import os
import subprocess
import sys

import pytest

from tomostain.cli import completion
from tomostain.train import list_recipes
from tomostain.view.exchange.export import MODEL_FORMATS
from tomostain.view.export.formats import FORMATS

PROGRAM = "import sys; from tomostain.cli import main; sys.argv[0] = 'tomostain'; {}main(sys.argv[1:])"
REPORT = (
    "import atexit; atexit.register(lambda: print(*sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)); "
)


def tomostain(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(REPORT), *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def completed(words: str) -> subprocess.CompletedProcess[str]:
    """Ask for completions of the last word, as bash does."""
    count = str(len(words.split(" ")) - 1)
    return tomostain(COMP_WORDS=words, COMP_CWORD=count, _TOMOSTAIN_COMPLETE="complete_bash")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tomostain ex", ["export"]),
        ("tomostain export a b --over", ["--overwrite"]),
        ("tomostain export a b --to bio", ["bioimageio"]),
        ("tomostain export a b --to qu", ["qupath"]),
        ("tomostain train a b --recipe pix", ["pix2pix", "pix2pix-cpu"]),
        ("tomostain train a b --init builtin:phantom-t", ["builtin:phantom-tb"]),
        ("tomostain evaluate builtin:phantom-t", ["builtin:phantom-tb"]),
        # As bash gives it, which keeps what precedes the colon.
        ("tomostain stain builtin : phantom-t", ["phantom-tb"]),
        ("tomostain stain builtin : phantom-tb vol --prec", ["--precision"]),
    ],
)
def test_words_are_completed_without_heavy_imports(words, expected):
    done = completed(words)
    assert done.stdout.split() == expected
    assert not {"torch", "numpy", "zarr"} & set(done.stderr.split())


def test_the_completed_values_are_all_that_there_are():
    assert set(completion.FORMATS) == {*FORMATS, "qupath", *MODEL_FORMATS}
    assert completion.recipes("") == list_recipes()


def test_paths_precede_built_in_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "builtin:phantom-tb" in completion.model_names("b")
    (tmp_path / "bone-model").mkdir()
    assert completion.model_names("b") == []
    assert "builtin:phantom-tb" in completion.model_names("bu")


def test_words_that_are_no_built_in_model_stay_as_they_are(capsys):
    for words, position in (("tomostain export a:b c", "2"), ("tomostain builtin", "1"), ("", "x")):
        given = {"COMP_WORDS": words, "COMP_CWORD": position}
        with completion.words_of_bash(given):
            print("builtin:a")
        assert given == {"COMP_WORDS": words, "COMP_CWORD": position}
        assert capsys.readouterr().out == "builtin:a\n"


def test_completion_is_installed_in_the_home_folder(tmp_path):
    done = tomostain(
        "--install-completion", "bash", HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert done.returncode == 0, done.stderr
    scripts = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert scripts
    assert any("_TOMOSTAIN_COMPLETE=complete_bash" in path.read_text() for path in scripts)
