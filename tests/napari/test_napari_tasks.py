"""Work in a thread: progress, result, errors, warnings, cancel; previews of which only the latest counts."""

import threading
import warnings

import pytest

from tomostain.errors import DamagedDataWarning, InputError, InterruptedRunError, OutOfDistributionWarning, warn_user

pytest.importorskip("napari")
pytest.importorskip("qtpy")


@pytest.fixture
def task(qtbot):
    from tomostain.napari.tasks import TaskWidget

    made = TaskWidget()
    qtbot.addWidget(made)
    return made


def test_the_result_arrives_in_the_main_thread(task, qtbot):
    places, results = [], []

    def work(progress, should_stop):
        places.append(threading.current_thread())
        progress("slices", 1, 2)
        return 7

    def take(value):
        results.append((value, threading.current_thread()))

    with qtbot.waitSignal(task.finished, timeout=120_000):
        task.start(work, label="working", on_result=take)
        assert task.is_running
        assert not task.isHidden()
    assert results == [(7, threading.main_thread())]
    assert places[0] is not threading.main_thread()
    assert task.isHidden()
    assert not task.is_running


def test_progress_is_shown_with_its_label(task, qtbot):
    go_on = threading.Event()

    def work(progress, should_stop):
        progress("staining", 3, 12)
        go_on.wait(120)

    task.start(work)
    qtbot.waitUntil(lambda: task.bar.value() == 3, timeout=120_000)
    assert task.bar.maximum() == 12
    assert task.label.text() == "staining: 3 of 12"
    with qtbot.waitSignal(task.finished, timeout=120_000):
        go_on.set()


def test_an_error_is_delivered(task, qtbot):
    errors = []

    def work(progress, should_stop):
        raise InputError("give `voxel_um`")

    with qtbot.waitSignal(task.finished, timeout=120_000):
        task.start(work, on_error=errors.append)
    assert [str(error) for error in errors] == ["give `voxel_um`"]


def test_cancel_requests_the_work_to_stop(task, qtbot):
    errors = []

    def work(progress, should_stop):
        progress("slices", 0, 10)
        while not should_stop():
            threading.Event().wait(0.01)
        raise InterruptedRunError("saved")

    task.start(work, on_error=errors.append)
    qtbot.waitUntil(lambda: task.bar.maximum() == 10, timeout=120_000)
    with qtbot.waitSignal(task.finished, timeout=120_000):
        task.cancel_button.click()
        assert not task.cancel_button.isEnabled()
    assert isinstance(errors[0], InterruptedRunError)


def test_a_second_work_is_refused_while_one_runs(task, qtbot):
    go_on = threading.Event()
    task.start(lambda progress, should_stop: go_on.wait(120))
    with pytest.raises(RuntimeError, match="a task is running"):
        task.start(lambda progress, should_stop: None)
    with qtbot.waitSignal(task.finished, timeout=120_000):
        go_on.set()
    with qtbot.waitSignal(task.finished, timeout=120_000):
        task.start(lambda progress, should_stop: None)


def test_a_widget_that_is_closed_stops_its_work(qtbot):
    from qtpy.QtWidgets import QVBoxLayout, QWidget

    from tomostain.napari.tasks import TaskWidget

    stopped = threading.Event()

    def work(progress, should_stop):
        while not should_stop():
            threading.Event().wait(0.01)
        stopped.set()

    parent = QWidget()
    task = TaskWidget(parent)
    QVBoxLayout(parent).addWidget(task)
    task.start(work)
    parent.deleteLater()
    qtbot.waitUntil(stopped.is_set, timeout=120_000)


def test_warnings_of_the_work_are_delivered_and_those_of_others_are_not(task, qtbot):
    texts = []

    def work(progress, should_stop):
        for _ in range(2):  # the default filter would show the second one only once
            warn_user("unlike the training data", DamagedDataWarning)

    with qtbot.waitSignal(task.finished, timeout=120_000):
        task.start(work, on_warning=texts.append)
    assert texts == ["unlike the training data"] * 2
    with pytest.warns(OutOfDistributionWarning, match="main"):
        warn_user("main", OutOfDistributionWarning)


def test_a_thread_that_restores_its_warnings_meanwhile_does_not_lose_those_of_the_task(task, qtbot):
    """`warnings.catch_warnings` restores functions and filters of the whole process at its end."""
    texts, begun, entered, restored = [], threading.Event(), threading.Event(), threading.Event()

    def other():
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("error")
            entered.set()
            assert begun.wait(300)
        restored.set()

    def work(progress, should_stop):
        begun.set()
        assert restored.wait(300)
        for _ in range(2):
            warn_user("after the other thread", OutOfDistributionWarning)

    def work_inside(progress, should_stop):
        warn_user("while the other thread records", OutOfDistributionWarning)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(300)
    with qtbot.waitSignal(task.finished, timeout=120_000):
        task.start(work_inside, on_warning=texts.append)
    with qtbot.waitSignal(task.finished, timeout=120_000):
        task.start(work, on_warning=texts.append)
    thread.join(300)
    assert texts == ["while the other thread records", *["after the other thread"] * 2]


def test_only_the_latest_request_is_computed_and_delivered(qtbot):
    from tomostain.napari.tasks import LatestOnly

    begun, go_on, computed, results = threading.Event(), threading.Event(), [], []

    def work(number):
        computed.append(number)
        begun.set()
        go_on.wait(120)
        return number

    latest = LatestOnly(work, results.append)
    latest.request(1)
    assert begun.wait(120)
    latest.request(2)
    latest.request(3)
    go_on.set()
    qtbot.waitUntil(lambda: not latest.is_running, timeout=120_000)
    assert computed == [1, 3]
    assert results == [3]


def test_a_live_preview_can_deliver_results_that_a_newer_request_follows(qtbot):
    from tomostain.napari.tasks import LatestOnly

    begun, go_on, results = threading.Event(), threading.Event(), []

    def work(number):
        begun.set()
        go_on.wait(120)
        return number

    latest = LatestOnly(work, results.append, deliver_all=True)
    latest.request(1)
    assert begun.wait(120)
    latest.request(2)
    go_on.set()
    qtbot.waitUntil(lambda: not latest.is_running, timeout=120_000)
    assert results == [1, 2]


def test_dropped_results_are_not_delivered(qtbot):
    from tomostain.napari.tasks import LatestOnly

    begun, go_on, results, errors = threading.Event(), threading.Event(), [], []

    def work(number):
        if number == 1:
            begun.set()
            go_on.wait(120)
        if number == 3:
            raise InputError("no such slice")
        return number

    latest = LatestOnly(work, results.append, errors.append)
    latest.request(1)
    assert begun.wait(120)
    latest.drop()
    latest.request(2)
    go_on.set()
    qtbot.waitUntil(lambda: results == [2], timeout=120_000)
    latest.request(3)
    qtbot.waitUntil(lambda: len(errors) == 1, timeout=120_000)
    latest.close()
    latest.request(4)
    assert not latest.is_running
    assert results == [2]
