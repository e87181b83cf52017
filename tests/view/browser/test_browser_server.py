"""The server of the plane view: addresses, limits, tiles, damaged data, and the files of the page."""

import http.client
import io
import json
import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.view_volumes import SIDE, STEP_UM, colours_of_position, write_view
from tomostain.errors import InputError
from tomostain.view.browser import server as server_module
from tomostain.view.browser.first_view import FirstView
from tomostain.view.browser.plane_layers import Overlays
from tomostain.view.browser.server import PAGE
from tomostain.view.browser.tile_request import BadRequestError, TileRequest, parse_tile
from tomostain.view.browser.view import prepared_site, start_server

PATIENCE_S = 60
GOOD = "axis=z&at=85&level=0&row=0&column=0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_view(tmp_path_factory.mktemp("view"))


@contextmanager
def running(site, report=print):
    server = start_server(site, 0, report)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.stop()
        thread.join()


@pytest.fixture(scope="module")
def server(folder):
    overlays = Overlays(folder / "uncertainty.ome.zarr", folder / "labels.ome.zarr")
    with (
        prepared_site(None, folder / "stained.ome.zarr", folder / "ct", overlays=overlays) as site,
        running(site) as it,
    ):
        yield it


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE_S)
    connection.request(method, path.replace("TOKEN", server.site.token), headers=headers)
    answer = connection.getresponse()
    answer.body = answer.read()
    connection.close()
    return answer


def pixels(answer):
    return np.asarray(Image.open(io.BytesIO(answer.body)))


def test_the_page_receives_the_description_of_its_volumes(server):
    facts = json.loads(ask(server, "/facts/TOKEN").body)
    assert facts["size_um"] == [(SIDE - 1) * STEP_UM] * 3
    assert (facts["base_um"], facts["levels"], facts["has_3d"]) == (STEP_UM, 1, False)
    assert [layer["name"] for layer in facts["layers"]] == ["ct", "stain", "uncertainty", "labels"]
    low, high = facts["layers"][0]["window"]
    assert 1000 <= low < 1100 < 6800 < high <= 6900
    assert facts["layers"][3]["labels"][2] == {"value": 2, "name": "mineralised bone", "rgb": [150, 90, 170]}
    assert "private" not in json.dumps(facts)
    assert str(server.site.volumes["stained.ome.zarr"].parent) not in json.dumps(facts)


def test_a_tile_is_a_lossless_picture(server):
    answer = ask(server, f"/tile/TOKEN/stain?{GOOD}")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "image/webp")
    picture = pixels(answer)
    np.testing.assert_array_equal(picture[:SIDE, :SIDE, :3], colours_of_position()[17])
    assert (picture[:SIDE, :SIDE, 3] == 255).all()
    assert not picture[SIDE:, :, 3].any()
    assert pixels(ask(server, f"/tile/TOKEN/uncertainty?{GOOD}"))[0, 0, 0] == 17 * 4
    assert pixels(ask(server, f"/tile/TOKEN/labels?{GOOD}"))[0, [0, 59], 0].tolist() == [1, 2]


def test_a_tile_without_volume_is_no_content(server):
    answer = ask(server, "/tile/TOKEN/stain?axis=z&at=85&level=0&row=7&column=0")
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize(
    "query",
    [
        "",
        GOOD + "&row=1",
        GOOD + "&path=x",
        GOOD.replace("axis=z", "axis=w"),
        GOOD.replace("axis=z", "axis=oblique"),
        GOOD.replace("at=85", "at=nan"),
        GOOD.replace("at=85", "at=1e9"),
        GOOD.replace("at=85", "at=inf"),
        GOOD.replace("at=85", "at=٣"),
        GOOD.replace("level=0", "level=-1"),
        GOOD.replace("level=0", "level=21"),
        GOOD.replace("row=0", "row=999999"),
        GOOD.replace("row=0", "row=0.5"),
        GOOD.replace("row=0&", ""),
        "axis=oblique&at=0&tilt_x=91&tilt_y=0&level=0&row=0&column=0",
        "x" * 300,
    ],
)
def test_what_is_no_tile_is_refused(server, query):
    with pytest.raises(BadRequestError):
        parse_tile(query)
    if query.isascii():
        assert ask(server, f"/tile/TOKEN/stain?{query}").status == 400


@given(st.text(alphabet="axisztlevrowcumnobq=&.-0123456789_%", max_size=80))
def test_a_query_is_a_tile_or_refused(query):
    with suppress(BadRequestError):
        assert isinstance(parse_tile(query), TileRequest)


@pytest.mark.parametrize(
    "path",
    [
        "/planes/TOKEN/nothing.js",
        "/planes/TOKEN/../server.py",
        "/planes/TOKEN/%2e%2e/server.py",
        "/planes/wrong/",
        "/facts/wrong",
        f"/tile/wrong/stain?{GOOD}",
        f"/tile/TOKEN/other?{GOOD}",
        f"/tile/TOKEN/../stain?{GOOD}",
        "/facts/TOKEN/x",
        "/start/TOKEN",
        "/v/TOKEN/",
    ],
)
def test_there_is_nothing_else(server, path):
    assert ask(server, path).status == 404


def test_every_file_of_the_page_is_in_the_package_and_is_served(server):
    names = {each.name for each in resources.files("tomostain.view.browser").joinpath("page").iterdir()}
    assert {"index.html", "main.js", "style.css", "colours.css", "icon.svg"} <= names
    for name in names:
        answer = ask(server, f"/planes/TOKEN/{name}")
        assert (answer.status, answer.body) == (200, (PAGE / name).read_bytes())
        assert answer.getheader("Content-Type").split(";")[0] in (
            "text/html",
            "text/javascript",
            "text/css",
            "image/svg+xml",
        )


def test_the_policy_of_the_page_allows_no_code_but_its_files(server):
    for path in ("/planes/TOKEN/", "/facts/TOKEN", f"/tile/TOKEN/stain?{GOOD}", "/planes/TOKEN/nothing"):
        answer = ask(server, path)
        policy = answer.getheader("Content-Security-Policy")
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]
    assert ask(server, f"/tile/TOKEN/stain?{GOOD}", Host="evil.example").status == 421
    assert ask(server, f"/tile/TOKEN/stain?{GOOD}", "POST").status == 501


def test_nothing_in_the_page_names_another_host_or_needs_inline_code():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
        assert not re.search(r"\b(eval|innerHTML|insertAdjacentHTML|document\.write)\b", text), path.name
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=", text)
            assert "<style" not in text
        assert len(text.splitlines()) <= 220, f"{path.name} is too long"


def test_damaged_data_are_not_shown_and_are_reported_once(folder, tmp_path):
    import shutil

    path = Path(shutil.copytree(folder / "stained.ome.zarr", tmp_path / "stained.ome.zarr"))
    lines = []
    with prepared_site(None, path) as site, running(site, lines.append) as server:
        shard = path / "0/c/0/1/0/0"
        shard.write_bytes(shard.read_bytes()[:-9] + b"\0" * 9)
        for _ in range(2):
            assert ask(server, f"/tile/TOKEN/stain?{GOOD}").status == 500
        assert ask(server, f"/tile/TOKEN/stain?{GOOD.replace('at=85', 'at=10')}").status == 200
    assert len(lines) == 1
    assert "warning: not shown" in lines[0]
    assert "0/c/0/1/0/0" in lines[0]


def test_any_other_failure_is_reported_once_and_answered(folder, monkeypatch):
    def fail(*_):
        raise MemoryError("2 GiB are missing")

    lines = []
    with prepared_site(None, folder / "stained.ome.zarr") as site, running(site, lines.append) as server:
        monkeypatch.setattr(type(site.planes), "tile", fail)
        for _ in range(2):
            assert ask(server, f"/tile/TOKEN/stain?{GOOD}").status == 500
    assert lines == ["warning: not shown: MemoryError: 2 GiB are missing"]


def test_a_level_that_the_view_does_not_have_is_refused(server):
    assert server.site.planes.levels == 1
    assert ask(server, f"/tile/TOKEN/stain?{GOOD.replace('level=0', 'level=1')}").status == 400
    with pytest.raises(BadRequestError):
        parse_tile(GOOD.replace("level=0", "level=3"), levels=3)
    assert parse_tile(GOOD.replace("level=0", "level=2"), levels=3).level == 2


def test_the_address_without_its_slash_leads_to_the_page(server):
    answer = ask(server, "/planes/TOKEN")
    assert (answer.status, answer.getheader("Location")) == (308, f"{server.site.token}/")


def wait_for_connections(server, count):
    """Wait until the server has only this number of connections."""
    end = time.monotonic() + PATIENCE_S
    while server_module._CONNECTIONS_AT_ONCE - server._connections._value > count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_too_many_connections_are_closed_and_those_before_are_answered(server, monkeypatch):
    monkeypatch.setattr(server_module._Handler, "timeout", 2 * PATIENCE_S)
    wait_for_connections(server, 0)
    count = server_module._CONNECTIONS_AT_ONCE
    lines = [socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S) for _ in range(count)]
    try:  # connections are accepted in their order
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S) as refused:
            assert refused.recv(1) == b""
        lines[0].sendall(f"GET /facts/{server.site.token} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert lines[0].recv(12) == b"HTTP/1.1 200"
    finally:
        for line in lines:
            line.close()
    wait_for_connections(server, 0)
    assert ask(server, "/facts/TOKEN").status == 200


def test_a_connection_without_token_is_closed_soon(server, monkeypatch):
    monkeypatch.setattr(server_module._Handler, "timeout", 0.1)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S) as silent:
        assert silent.recv(1) == b""


@pytest.mark.parametrize(("token", "is_closed"), [("TOKEN", True), ("wrong", False)])
def test_a_connection_with_the_token_has_a_time_limit_of_its_own(server, monkeypatch, token, is_closed):
    assert server_module._TIMEOUT_S > server_module._TIMEOUT_WITHOUT_TOKEN_S
    # The other way round, so that no request of this test can be late.
    monkeypatch.setattr(server_module._Handler, "timeout", 2 * PATIENCE_S)
    monkeypatch.setattr(server_module, "_TIMEOUT_S", 0.1)
    path = f"/facts/{token}".replace("TOKEN", server.site.token)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S) as line:
        line.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = line.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200" if is_closed else b"HTTP/1.1 404")
        if is_closed:
            while answer:
                answer = line.recv(4096)
        else:
            line.settimeout(0.5)
            with pytest.raises(TimeoutError):
                line.recv(1)


def test_a_request_that_the_page_cancelled_is_not_computed(server, monkeypatch):
    computed = []
    monkeypatch.setattr(type(server.site.planes), "tile", lambda self, name, request: computed.append(request))
    for _ in range(2):
        server.tile_slots.acquire()
    try:
        lines = [socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S) for _ in range(2)]
        for number, line in enumerate(lines):
            query = GOOD.replace("column=0", f"column={number}")
            path = f"/tile/{server.site.token}/stain?{query}"
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        lines[0].close()
    finally:
        for _ in range(2):
            server.tile_slots.release()
    assert lines[1].recv(12) == b"HTTP/1.1 204"
    lines[1].close()
    wait_for_connections(server, 0)
    assert [request.column for request in computed] == [1]


def test_the_server_waits_for_a_tile_and_says_nothing_of_it_when_it_stops(folder, monkeypatch):
    begun, may_end, lines, stops = threading.Event(), threading.Event(), [], []

    def broken(self, name, request):
        begun.set()
        assert may_end.wait(PATIENCE_S)
        time.sleep(0.2)  # a server that does not wait would be gone
        stops.append(server.closing.is_set())
        raise FileNotFoundError("a volume that was removed")

    with prepared_site(None, folder / "stained.ome.zarr") as site:
        monkeypatch.setattr(type(site.planes), "tile", broken)
        with running(site, lines.append) as server:
            set_closing = server.closing.set
            monkeypatch.setattr(server.closing, "set", lambda: (set_closing(), may_end.set()))
            request = f"GET /tile/{site.token}/stain?{GOOD} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S) as line:
                line.sendall(request)
                assert begun.wait(PATIENCE_S)
        assert stops == [True]
    assert lines == []


def test_a_link_is_opened_again(server):
    link = "http://127.0.0.1:1/planes/OLD/#view=z&at=1,2,3"
    assert FirstView(at=link).url(server) == f"{server.url}#view=z&at=1,2,3"
    assert FirstView(at="view=z&at=1,2,3").url(server) == f"{server.url}#view=z&at=1,2,3"
    assert FirstView().url(server) == server.url
    assert FirstView("3d").url(server) == server.url_3d
    with pytest.raises(InputError, match="`viewer` 4d"):
        FirstView("4d")
