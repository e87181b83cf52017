"""A real Chromium, driven by playwright, for tests of the plane view."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.headless import chromium

FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--force-color-profile=srgb",
    "--disable-gpu",
    "--renderer-process-limit=1",
]
LATE_FRAMES = """{
    const request = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = (draw) => setTimeout(() => request(draw), 40);
}"""
"""Script of a page on a busy machine: a test that reads before the page has drawn fails every time, not rarely."""
IDLE = (
    "!!window.viewer && viewer.tiles.isIdle && !viewer.store.isMoving"
    " && Object.values(viewer.panels).every((panel) => !panel.isVisible || panel.isComplete)"
)


@contextmanager
def browser() -> Iterator[Any]:
    """Yield playwright's browser; skip the test without playwright or Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium, or put chromium or google-chrome on the PATH")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


def wait_until(page: Any, expression: str, seconds: float = 120) -> None:
    """Wait until a JavaScript expression is true. (`wait_for_function` needs eval, which the page forbids.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(f"!!({expression})"):
        if time.monotonic() > end:
            raise TimeoutError(f"{expression} is not true after {seconds} s")
        time.sleep(0.04)


def wait_for_frame(page: Any) -> None:
    """Wait until the page has drawn its last change, with the tiles that have arrived."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def wait_for_picture(page: Any) -> None:
    """Wait until the page has drawn the current view completely."""
    wait_for_frame(page)
    wait_until(page, IDLE)
    page.evaluate("viewer.draw()")
