"""The verb `doctor`."""

from tomostain.cli.main import run


def test_doctor_names_the_device(capsys):
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "device: " in out
    assert "torch " in out
