"""The small web server: access control, served files, and paths that lead out of its folders."""

import http.client
import json
import socket
import threading
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.view.browser.requests import RangeError, byte_range, find_file
from tomostain.view.browser.server import ORIGIN, Site, ViewServer, volume_url
from tomostain.view.browser.view import start_server

CONTENT = bytes(range(200))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folders of a client and of a volume, and a secret file next to them."""
    top = tmp_path_factory.mktemp("served")
    (top / "client").mkdir()
    (top / "client" / "index.html").write_text("<p>viewer</p>")
    (top / "a.zarr" / "0").mkdir(parents=True)
    (top / "a.zarr" / "zarr.json").write_text("{}")
    (top / "a.zarr" / "0" / "chunk µ").write_bytes(CONTENT)
    (top / "secret").write_text("secret")
    (top / "a.zarr" / "inside").symlink_to("zarr.json")
    (top / "a.zarr" / "outside").symlink_to(top / "secret")
    (top / "a.zarr" / "up").symlink_to(top)
    (top / "a.zarr" / "circle").symlink_to("circle")
    return top


@contextmanager
def running(site):
    server = ViewServer(site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.stop()
        thread.join()


@pytest.fixture(scope="module")
def server(folders):
    state = {"layers": [{"source": volume_url("a.zarr", "TOKEN")}], "title": "</script><b>"}
    with running(Site(folders / "client", {"a.zarr": folders / "a.zarr"}, state, token="TOKEN")) as found:
        yield found


def ask(server, path, method="GET", **headers):
    """Send a request that no browser would send: the path is not normalised. Return the response and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    answer.body = answer.read()
    connection.close()
    return answer


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 40))
def test_byte_ranges_are_python_s_slices(start, stop, size):
    content = CONTENT[:size]
    for header, wanted in (
        (f"bytes={start}-{stop}", content[start : stop + 1]),
        (f"bytes={start}-", content[start:]),
        (f"bytes=-{stop}", content[-stop:] if stop else b""),
    ):
        if header == f"bytes={start}-{stop}" and stop < start:
            assert byte_range(header, size) is None  # no range at all, according to RFC 9110, 14.1.1
            continue
        try:
            found = byte_range(header, size)
        except RangeError:
            assert wanted == b""
        else:
            assert content[slice(*found)] == wanted != b""


@pytest.mark.parametrize("header", ["", "bytes=", "bytes=-", "lines=1-2", "bytes=1-2,5-6", "bytes=a-b", "bytes=٣-٤"])
def test_headers_that_are_not_a_single_range_return_the_whole_file(header):
    assert byte_range(header, 100) is None


OUTSIDE = [
    "a.zarr/../secret",
    "a.zarr/%2e%2e/secret",
    "a.zarr/%2E%2E%2Fsecret",
    "a.zarr%2f..%2fsecret",
    "a.zarr/0/../../secret",
    "a.zarr/..%5csecret",
    "a.zarr/outside",
    "a.zarr/up/secret",
    "a.zarr/up/a.zarr/../secret",
    "a.zarr/circle",
    "a.zarr/0",
    "a.zarr",
    "a.zarr/",
    "a.zarr//etc/passwd",
    "a.zarr/%2fetc/passwd",
    "a.zarr/zarr.json%00.txt",
    "a.zarr/" + "x" * 5000,
    "../a.zarr/zarr.json",
    "b.zarr/zarr.json",
    "client/index.html",
    "",
]


@pytest.mark.parametrize("address", OUTSIDE)
def test_nothing_outside_a_folder_is_found_or_sent(folders, server, address):
    assert find_file({"a.zarr": folders / "a.zarr"}, address) is None
    answer = ask(server, f"/data/TOKEN/{address}")
    assert (answer.status, answer.body) == (404, b"")


def test_files_are_sent_whole_and_in_parts(server):
    path = "/data/TOKEN/a.zarr/0/chunk%20%C2%B5"
    whole = ask(server, path)
    assert (whole.status, whole.body, whole.getheader("Accept-Ranges")) == (200, CONTENT, "bytes")
    part = ask(server, path, Range="bytes=10-19")
    assert (part.status, part.body, part.getheader("Content-Range")) == (206, CONTENT[10:20], "bytes 10-19/200")
    last = ask(server, path, Range="bytes=-4")
    assert (last.status, last.body) == (206, CONTENT[-4:])
    behind = ask(server, path, Range="bytes=200-")
    assert (behind.status, behind.getheader("Content-Range")) == (416, "bytes */200")
    head = ask(server, path, "HEAD")
    assert (head.status, head.getheader("Content-Length"), head.body) == (200, "200", b"")
    assert ask(server, "/data/TOKEN/a.zarr/inside").body == b"{}"
    assert ask(server, "/v/TOKEN/").getheader("Content-Type") == "text/html; charset=utf-8"


def test_the_page_s_state_is_json_that_ends_no_script(server):
    answer = ask(server, "/start/TOKEN")
    text = answer.body.decode().split('id="state">')[1].split("</script>")[0]
    assert json.loads(text) == server.site.state
    assert ORIGIN in text


@pytest.mark.parametrize(
    "path", ["/", "/start/", "/start/token", "/v/x/index.html", "/data/TOKE/a.zarr/zarr.json", "/v"]
)
def test_without_the_token_there_is_nothing(server, path):
    assert ask(server, path).status == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1", "[::1]:80", "127.0.0.1:80:80", ""]
)
def test_requests_for_another_host_name_are_refused(server, host):
    assert ask(server, "/start/TOKEN", Host=host).status == 421
    assert ask(server, "/start/TOKEN", Host="localhost:9999").status == 200


def test_other_origins_are_refused_and_the_page_contacts_no_other_server(server):
    for path in ("/start/TOKEN", "/v/TOKEN/", "/data/TOKEN/a.zarr/zarr.json", "/nothing"):
        answer = ask(server, path, Origin="http://evil.example")
        assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]
        policy = answer.getheader("Content-Security-Policy")
        assert "connect-src 'self' data: blob:;" in policy
        assert "http" not in policy
    assert ask(server, "/start/TOKEN", "POST").status == 501
    assert ask(server, "/data/TOKEN/a.zarr/zarr.json", "OPTIONS").status == 501


def test_the_server_listens_on_the_loopback_address_only(server):
    assert server.server_address[0] == "127.0.0.1"
    # Linux answers on all of 127.0.0.0/8: a server on 0.0.0.0 would be reached by this address, ours is not.
    for other in {"127.0.0.2", *_own_addresses()}:
        with pytest.raises(OSError):
            socket.create_connection((other, server.server_port), timeout=2)


def _own_addresses():
    """Return this machine's addresses in its networks, by name and by the way a packet would go out (none is sent)."""
    found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            found.add(probe.getsockname()[0])
            found |= {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        except OSError:
            pass
    return {address for address in found if address != "127.0.0.1"}


def test_the_server_stops_while_a_connection_is_open(folders):
    with running(Site(folders / "client", {}, {}, token="TOKEN")) as server:
        line = socket.create_connection(("127.0.0.1", server.server_port), timeout=60)
        line.sendall(b"GET /events/TOKEN?c=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert line.recv(15) == b"HTTP/1.1 200 OK"
    line.close()


def test_a_port_that_is_taken(folders, server):
    with pytest.raises(InputError, match=rf"`port` {server.server_port}: cannot be used"):
        start_server(server.site, server.server_port)


def test_a_damaged_file_of_a_volume_is_not_served_and_is_reported_once(folders):
    def check(name):
        if name == "0/chunk µ":
            raise InputError("a.zarr: shard 0/chunk µ is damaged")

    lines = []
    site = Site(folders / "client", {"a.zarr": folders / "a.zarr"}, {}, token="TOKEN", checks={"a.zarr": check})
    server = ViewServer(site, report=lines.append)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        assert ask(server, "/data/TOKEN/a.zarr/zarr.json").status == 200
        for _ in range(2):
            answer = ask(server, f"/data/TOKEN/a.zarr/0/{quote('chunk µ')}")
            assert (answer.status, answer.body) == (500, b"")
    finally:
        server.shutdown()
        server.stop()
        thread.join()
    assert lines == ["warning: not shown: a.zarr: shard 0/chunk µ is damaged"]
