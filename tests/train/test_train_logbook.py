"""The metrics of a run, with and without TensorBoard."""

import sys
from importlib.util import find_spec

import pytest

from tests.support.training import rows
from tomostain.train.logbook import Logbook


@pytest.mark.parametrize("installed", [True, False])
def test_events_are_written_only_with_tensorboard(tmp_path, monkeypatch, installed):
    if not installed:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    elif not find_spec("tensorboard"):
        pytest.skip("TensorBoard is not installed")
    logbook = Logbook(tmp_path, ["total"], 0)
    logbook.write(3, 1, 2.5, {"total": 0.25})
    logbook.close()
    assert rows(tmp_path) == [{"step": "3", "epoch": "1", "total": "0.25"}]
    assert len(list(tmp_path.glob("events.*"))) == installed


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,epoch,seconds,total\n3,1,1,0.5\n6,2,2,0.25\n")
    Logbook(tmp_path, ["total"], 3).close()
    assert rows(tmp_path) == [{"step": "3", "epoch": "1", "total": "0.5"}]
