"""Unknown words on the command line, and the suggested ones."""

import pytest

from tomostain.cli.main import run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stian a b c", "No such command 'stian'. Did you mean 'stain'"),
        (
            "phantom out --sed 3",
            "No such option: --sed; did you mean --seed or --size? (see: tomostain phantom --help)",
        ),
        ("export a b --too onnx", "No such option: --too; did you mean --to or --ct? (see: tomostain export --help)"),
        ("--threds 3 doctor", "No such option: --threds; did you mean --threads? (see: tomostain --help)"),
        ("view x --threads 3", "--threads is an option of all verbs: give it before the verb, tomostain --threads"),
        ("check x --dataset", "Option '--dataset' requires an argument. (see: tomostain check --help)"),
        ("view x --zzzzzz", "No such option: --zzzzzz (see: tomostain view --help)"),
        ("stain --hlep", "No such option: --hlep; did you mean --help"),
        ("export a b --license MIT", "No such option: --license; did you mean --licence"),
        ("models describe", "models describe: give one NAME"),
        ("models lst", "models lst: unknown action; did you mean 'list'?"),
        ("models describe phantom-tv", "did you mean 'phantom-tb'?"),
        ("recipes pix2pxi", "did you mean 'pix2pix'?"),
        ("phantom out --material Mg-5gd", "'PEEK'; did you mean 'Mg-5Gd'?"),
        ("export a b --to nrdr", "--to nrdr: unknown format; did you mean 'nrrd'?"),
        ("export a b --to tif", "--to tif: unknown format; did you mean 'rgb-tiff'?"),
    ],
)
def test_a_similar_word_is_suggested(words, message, fails):
    assert message in fails(*words.split())


def test_quiet_is_accepted_after_the_verb(volume, capsys):
    assert run(["check", str(volume), "--quiet"]) == 0
    assert run(["check", str(volume), "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_help_and_version_are_words_too(capsys):
    assert run(["help"]) == 0
    assert "\n  stain     Stain a volume" in capsys.readouterr().out
    assert run(["help", "stain"]) == 0
    assert "Stain a volume" in capsys.readouterr().out
    assert run(["version"]) == 0
    assert capsys.readouterr().out.startswith("tomostain ")
