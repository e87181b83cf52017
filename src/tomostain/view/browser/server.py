"""A local web server for one view. It serves the files of the viewer and the volumes, on this machine only.

Page and data have the same origin, so no CORS headers are needed and none are sent. Access control: the server listens
on 127.0.0.1 only. Every address contains a random token, because other accounts of the machine can reach 127.0.0.1. A
request for another host name is refused, because a web page elsewhere could resolve its name to this address. The page
may connect to this server only (Content-Security-Policy).
"""

import json
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tomostain.errors import InputError
from tomostain.view.browser.plane_site import PlaneSite
from tomostain.view.browser.requests import TYPES, RangeError, byte_range, find_file
from tomostain.view.browser.tile_request import BadRequestError, parse_tile

HOST = "127.0.0.1"
_LOCAL = (HOST, "localhost")
ORIGIN = "http://origin.invalid"
"""Placeholder in the state for the address of the server. Through a tunnel, the browser sees another port."""
PAGE = Path(__file__).parent / "page"
"""The files of the plane view."""
_TILES_AT_ONCE = 2
_TILES_END_S = 10.0
"""Time in which tiles that are computed must end when the server stops."""
_CONNECTIONS_AT_ONCE = 64
_TIMEOUT_S = 60
_TIMEOUT_WITHOUT_TOKEN_S = 10
"""Before a connection has sent the token of the view, it may come from anybody on this machine."""
_BLOCK = 1 << 20
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY_OF_PLANES = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_POLICY_OF_3D = {
    "Content-Security-Policy": (
        # The viewer generates code for loops over its arrays at run time, which needs 'unsafe-eval'.
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_START_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>tomostain</title></head><body>
<noscript>This page needs JavaScript.</noscript>
<script type="application/json" id="state">%s</script>
<script>
const here = location.origin + location.pathname.replace(/[/]start[/][^/]*$/, "");
const state = document.getElementById("state").textContent.replaceAll("%s", here);
location.replace(here + "/v/%s/#!" + encodeURIComponent(state));
</script></body></html>
"""


@dataclass(frozen=True)
class Site:
    """The content that is served.

    Attributes
    ----------
    client : Path or None
        Folder with the built files of the 3D viewer; None if it is not installed.
    volumes : mapping of str to Path
        OME-Zarr folders, by their name in addresses.
    state : dict
        The initial view, with `ORIGIN` in the addresses of its layers.
    token : str
        Random part of every address.
    checks : mapping of str to callable
        For some of the volumes, called with the name of a file in the folder before it is served. It raises
        `InputError` for a damaged file, which is not served.
    planes : PlaneSite, optional
        The plane view. Without it, the 3D viewer alone is served.
    """

    client: Path | None
    volumes: Mapping[str, Path]
    state: Mapping[str, Any]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    checks: Mapping[str, Callable[[str], None]] = field(default_factory=dict)
    planes: PlaneSite | None = None


def volume_url(name: str, token: str) -> str:
    """Return the address of a volume, for the state."""
    return f"{ORIGIN}/data/{token}/{name}"


def _accept(name: str) -> None:
    """Serve every file of a volume without checksums."""


class ViewServer(ThreadingHTTPServer):
    """Serves a `Site` on 127.0.0.1 until `stop`; use `url` to open it.

    Parameters
    ----------
    site : Site
    port : int
        0 for a free one.
    report : callable
        Called with a warning, once for each damaged file that a browser asks for.

    Raises
    ------
    OSError
        If the port is taken.
    """

    block_on_close = False
    request_queue_size = _CONNECTIONS_AT_ONCE
    # Where a port can be taken from another server by this option (Windows), it stays off.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, site: Site, port: int = 0, report: Callable[[str], None] = print) -> None:
        self.site = site
        self._report, self._reported = report, set[str]()
        self.closing = threading.Event()
        self.tile_slots = threading.BoundedSemaphore(_TILES_AT_ONCE)
        self._connections = threading.BoundedSemaphore(_CONNECTIONS_AT_ONCE)
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the plane view; without one, of the 3D view."""
        if self.site.planes is None:
            return self.url_3d
        return f"http://{HOST}:{self.server_port}/planes/{self.site.token}/"

    @property
    def url_3d(self) -> str:
        """The address of the 3D view."""
        return f"http://{HOST}:{self.server_port}/start/{self.site.token}"

    def is_damaged(self, address: str) -> bool:
        """Return whether ``NAME/path`` is a damaged file of a volume; it is reported once."""
        name, _, file = unquote(address).partition("/")
        try:
            self.site.checks.get(name, _accept)(file)
        except Exception as error:
            self.report_failure(error)
            return True
        return False

    def report_failure(self, error: Exception) -> None:
        """Report that data are damaged or cannot be shown, each message once; not after `stop`."""
        if self.closing.is_set():
            return
        text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        if text not in self._reported:
            self._reported.add(text)
            self._report(f"warning: not shown: {text}")

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a separate thread, or close it if there are too many."""
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def stop(self) -> None:
        """End the open connections and give the port back; `serve_forever` must have returned.

        Tiles that are computed end first: the volumes may be removed afterwards, and Python may end.
        """
        self.closing.set()
        self.server_close()
        ends = time.monotonic() + _TILES_END_S
        slots = [self.tile_slots.acquire(timeout=max(0.0, ends - time.monotonic())) for _ in range(_TILES_AT_ONCE)]
        for _ in filter(None, slots):
            self.tile_slots.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep silent when a browser goes away in the middle of an answer."""


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; the client's notes to a Python program, which it would POST, have no reader here."""

    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tomostain", ""
    timeout = _TIMEOUT_WITHOUT_TOKEN_S
    policy: Mapping[str, str] = _POLICY_OF_3D

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is the user's."""

    def _answer(self) -> None:
        if re.sub(r":\d*$", "", self.headers.get("Host", "")) not in _LOCAL:
            return self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
        if self.path == "/favicon.ico":
            return self._refuse(HTTPStatus.NO_CONTENT)
        self.policy = _POLICY_OF_3D
        kind, _, rest = self.path.partition("?")[0].removeprefix("/").partition("/")
        token, _, name = rest.partition("/")
        if not secrets.compare_digest(token.encode(), self.server.site.token.encode()):
            return self._refuse(HTTPStatus.NOT_FOUND)
        self.connection.settimeout(_TIMEOUT_S)
        if kind in ("planes", "tile", "facts"):
            return self._answer_planes(kind, name)
        if self.server.site.client is None and kind != "data":
            return self._refuse(HTTPStatus.NOT_FOUND)
        if kind == "start" and not name:
            return self._send_bytes(self._start_page(), TYPES[".html"])
        if kind == "events" and not name and self.command == "GET":
            return self._hold_line()
        if kind == "data" and self.server.is_damaged(name):
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
        client = self.server.site.client
        roots = {"v": {} if client is None else {"client": client}, "data": self.server.site.volumes}.get(kind, {})
        path = find_file(roots, f"client/{name or 'index.html'}" if kind == "v" else name)
        return self._refuse(HTTPStatus.NOT_FOUND) if path is None else self._send_file(path)

    def _answer_planes(self, kind: str, name: str) -> None:
        """Answer with a file of the page, a tile, or what the page must know."""
        self.policy, planes = _POLICY_OF_PLANES, self.server.site.planes
        if planes is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        if kind == "facts" and not name:
            facts = planes.facts(has_3d=self.server.site.client is not None)
            return self._send_bytes(json.dumps(facts).encode(), TYPES[".json"])
        if kind == "tile" and name in planes.layers:
            return self._send_tile(planes, name)
        if kind == "planes" and not name and not self.path.partition("?")[0].endswith("/"):
            # Relative to this address: through a tunnel or a proxy, its beginning may be another one.
            return self._refuse(HTTPStatus.PERMANENT_REDIRECT, {"Location": f"{self.server.site.token}/"})
        path = find_file({"page": PAGE}, f"page/{name or 'index.html'}") if kind == "planes" else None
        return self._refuse(HTTPStatus.NOT_FOUND) if path is None else self._send_file(path)

    def _send_tile(self, planes: PlaneSite, name: str) -> None:
        """Send a tile, few at a time. A request whose page has moved in the meantime is dropped."""
        try:
            request = parse_tile(self.path.partition("?")[2], levels=planes.levels)
        except BadRequestError:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        with self.server.tile_slots:
            if self.server.closing.is_set() or self._is_abandoned():
                self.close_connection = True
                return None
            try:
                picture = planes.tile(name, request)
            except Exception as error:  # the page must learn of it, and the terminal must name the reason
                self.server.report_failure(error)
                return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
        return self._refuse(HTTPStatus.NO_CONTENT) if picture is None else self._send_bytes(picture, "image/webp")

    def _is_abandoned(self) -> bool:
        """Return whether the browser closed the connection: that is how it cancels a request."""
        timeout_s = self.connection.gettimeout()
        try:
            self.connection.settimeout(0)
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:  # nothing was sent, and the connection is open
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(timeout_s)

    def _start_page(self) -> bytes:
        # "<" is written so that no name of a volume can end the script element early.
        state = json.dumps(self.server.site.state).replace("<", "\\u003c")
        return (_START_PAGE % (state, ORIGIN, self.server.site.token)).encode()

    def _hold_line(self) -> None:
        """Keep the line open on which the client waits for news, so that it does not report a lost connection."""
        self.close_connection = True
        self._head(HTTPStatus.OK, {"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        while not self.server.closing.wait(10):
            self.wfile.write(b":\n\n")  # a comment: it only shows whether the browser is still there
            self.wfile.flush()

    def _send_file(self, path: Path) -> None:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            try:
                requested = byte_range(self.headers.get("Range"), size)
            except RangeError:
                self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
                return
            start, stop = requested or (0, size)
            headers = {
                "Content-Type": TYPES.get(path.suffix, "application/octet-stream"),
                "Content-Length": str(stop - start),
                "Accept-Ranges": "bytes",
                "Cache-Control": "no-cache",
            }
            if requested:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            self._head(HTTPStatus.PARTIAL_CONTENT if requested else HTTPStatus.OK, headers)
            file.seek(start)
            while self.command == "GET" and start < stop and (block := file.read(min(_BLOCK, stop - start))):
                self.wfile.write(block)
                start += len(block)

    def _send_bytes(self, body: bytes, kind: str) -> None:
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        self._head(HTTPStatus.OK, headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, headers: Mapping[str, str] | None = None) -> None:
        """Refuse a request without information about existing files."""
        length = {} if status is HTTPStatus.NO_CONTENT else {"Content-Length": "0"}
        self._head(status, {**length, **(headers or {})})

    def _head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **self.policy, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
