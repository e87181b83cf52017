"""The whole pipeline on files: it asks no other machine for anything, and others may read what it writes."""

import contextlib
import os
import socket
import stat
import sys
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.training import toy_recipe
from tomostain.cli.main import run

LOCAL = ("127.0.0.1", "::1", "localhost", None, "", b"127.0.0.1")
EVENTS = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind")
# An audit hook cannot be removed; it records while there is a list.
_asked: list[str] | None = None


def _record(event: str, arguments: tuple[object, ...]) -> None:
    if _asked is None or event not in EVENTS:
        return
    address = arguments[1] if event in ("socket.connect", "socket.sendto", "socket.bind") else arguments[:1]
    if isinstance(address, tuple) and address[0] not in LOCAL:
        _asked.append(f"{event}: {address}")


sys.addaudithook(_record)


@contextlib.contextmanager
def offline() -> Iterator[list[str]]:
    """Yield a list that gets each address outside this machine that is looked up or connected to, by any library."""
    global _asked
    calls = _asked = []
    try:
        yield calls
    finally:
        _asked = None


def works(*words: object) -> None:
    assert run(["--quiet", *map(str, words)]) == 0


def test_a_name_and_an_address_of_the_network_are_detected():
    with offline() as calls:
        with contextlib.suppress(OSError):
            socket.create_connection(("192.0.2.1", 9), timeout=0.01)
        with contextlib.suppress(OSError):
            socket.getaddrinfo("tomostain.invalid", 80)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.sendto(b"", ("192.0.2.1", 9))
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    assert {line.split(":")[0] for line in calls} == {"socket.connect", "socket.getaddrinfo", "socket.sendto"}
    assert not any("127.0.0.1" in line for line in calls)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Phantom, register, prepare, train, stain, evaluate, check, view and export; return the folder and the calls."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "recipe.yaml").write_text(toy_recipe(patch_px=16).to_yaml())
    rows = []
    with contextlib.chdir(folder), offline() as calls:
        for seed in (0, 4, 5):
            size = ("--size", 40, "--voxel-um", 64, "--pixel-um", 50)
            works("phantom", f"specimen-{seed}", "--seed", seed, *size)
            rows.append(
                f"s{seed},specimen-{seed}/volume,specimen-{seed}/slide.ome.tif,specimen-{seed}/truth/section.yaml"
            )
        (folder / "specimens.csv").write_text("\n".join(["specimen,volume,slide,section", *rows]) + "\n")
        start = ("--init", "specimen-0/truth/section.yaml", "--accept")
        works("register", "specimen-0/volume", "specimen-0/slide.ome.tif", "pair", *start)
        works("prepare", "specimens.csv", "dataset", "--folds", 2)
        works("train", "dataset", "run", "--recipe", "recipe.yaml", "--max-steps", 2)
        works("stain", "run/model", "specimen-0/volume", "stained.ome.zarr")
        works("evaluate", "run", "dataset", "evaluation", "--patch-px", 16, "--no-baselines", "--report")
        for path in ("specimen-0/volume", "dataset", "run", "run/model", "stained.ome.zarr"):
            works("check", path)
        works("models", "describe", "phantom-tb")
        works("doctor")
        works("view", "stained.ome.zarr", "--out", "figures")
        works("export", "stained.ome.zarr", "slices", "--to", "rgba-tiff")
    return folder, calls


def test_the_whole_pipeline_stays_on_this_machine(pipeline):
    _, calls = pipeline
    assert calls == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_every_output_has_the_permissions_of_a_new_file(pipeline):
    folder, _ = pipeline
    (folder / "new").mkdir()
    (folder / "new" / "file").touch()
    usual = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in (folder / "new", folder / "new" / "file")}
    others = [path for path in folder.rglob("*") if stat.S_IMODE(path.stat().st_mode) != usual[path.is_dir()]]
    assert not others


def test_the_page_of_the_browser_is_served_on_this_machine_only(tmp_path):
    from tests.support.toys import grey_values, toy_model
    from tomostain.imaging.intensity import IntensityReference
    from tomostain.io import Volume
    from tomostain.stain import stain_volume
    from tomostain.view.browser.view import client_folder, prepared_site, start_server

    pytest.importorskip("neuroglancer")
    client_folder()
    volume = Volume.from_array(grey_values((4, 20, 24)), 5.0)
    levels = IntensityReference(background=100.0, bone=900.0)
    out = stain_volume(toy_model(tmp_path / "model"), volume, tmp_path / "out.ome.zarr", intensity=levels, device="cpu")
    with offline() as calls, prepared_site(tmp_path, out, None) as site:
        server = start_server(site, 0)
        worker = threading.Thread(target=server.serve_forever, daemon=True)
        worker.start()
        try:
            pages = [urllib.request.urlopen(url, timeout=60).read().decode() for url in (server.url, server.url_3d)]
        finally:
            server.shutdown()
            server.stop()
            worker.join()
    assert calls == []
    for page in pages:
        assert "<!doctype html>" in page
        assert "https://" not in page
