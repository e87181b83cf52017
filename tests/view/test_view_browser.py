"""The view in a browser: its state, the µCT's copy, the command from beginning to end, and the pixels of the page."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.support.headless import Page, chromium
from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.io import create_stained, open_volume, write_stack
from tomostain.view.browser.grey_copy import grey_copy, grey_window
from tomostain.view.browser.view import client_folder, prepared_site, start_server
from tomostain.view.export.formats import export

VOXEL_UM = (10.0, 5.0, 5.0)
SHAPE = (48, 80, 96)
RED, GREEN, BLUE, DARK = (200, 40, 40), (40, 160, 60), (40, 70, 200), (60, 60, 60)
NO_VIEWER = "pip install 'tomostain[browser]'"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A stained volume: red above z 24, else green left of x 48, blue right of it; a µCT: dark, black, white by y."""
    top = tmp_path_factory.mktemp("browser")
    volume = np.empty((*SHAPE, 3), np.uint8)
    volume[:24] = RED
    volume[24:, :, :48] = GREEN
    volume[24:, :, 48:] = BLUE
    writer = create_stained(top / "stained.ome.zarr", SHAPE, VOXEL_UM, z_chunk=16, provenance={"model": "none"})
    for z0, z1 in writer.pending():
        writer.write(z0, volume[z0:z1])
    writer.finish()
    ct = np.full(SHAPE, 1000, np.uint16)
    ct[:, :40] = 1000 + 60 * 100
    ct[:, 78:] = 1000 + 255 * 100
    write_stack(top / "ct", ct, voxel_um=VOXEL_UM)
    return top


@pytest.fixture
def client():
    try:
        return client_folder()
    except InputError:
        pytest.skip(f"the viewer is not installed: {NO_VIEWER}")


def test_the_state_says_what_the_viewer_needs(folders, tmp_path):
    with prepared_site(tmp_path, folders / "stained.ome.zarr", folders / "ct") as site:
        state, token = site.state, site.token
        assert (site.volumes["ct.ome.zarr"] / "zarr.json").is_file()
        scratch = site.volumes["ct.ome.zarr"].parent
    assert not scratch.exists()
    assert state["layout"] == "4panel"
    assert list(state["dimensions"]) == ["x", "y", "z"]
    assert state["dimensions"]["z"] == [1e-5, "m"]
    assert state["position"] == [48, 40, 24]
    ct, stain = state["layers"]
    assert (ct["name"], stain["name"]) == ("µCT", "stain")
    assert stain["source"]["url"] == f"zarr3://http://origin.invalid/data/{token}/stained.ome.zarr"
    # The array's own order, with the channels named so that the shader gets all three.
    assert list(stain["source"]["transform"]["outputDimensions"]) == ["c^", "z", "y", "x"]
    assert stain["channelDimensions"] == {"c^": [1, ""]}
    for channel in range(3):
        assert f"getDataValue({channel})" in stain["shader"]


def test_a_chunk_of_the_written_volume_holds_all_three_channels(folders):
    import zarr

    for _, array in zarr.open_group(folders / "stained.ome.zarr", mode="r").arrays():
        assert array.chunks[0] == 3


def test_a_grey_copy_is_the_mean_of_each_bin(folders, tmp_path):
    volume = open_volume(folders / "ct")
    shape, step = grey_copy(volume, tmp_path / "copy.ome.zarr", max_voxels=24 * 40 * 48)
    assert (shape, step) == ((24, 40, 48), (20.0, 10.0, 10.0))
    values = volume.read(0, 48).astype(float).reshape(24, 2, 40, 2, 48, 2).mean(axis=(1, 3, 5))
    low, high = grey_window(volume)
    wanted = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    copy = open_volume(tmp_path / "copy.ome.zarr")
    assert copy.voxel_um == (20.0, 10.0, 10.0)
    np.testing.assert_allclose(copy.read(0, 24), wanted, atol=1)


def test_a_volume_of_one_grey_value_has_a_window(tmp_path):
    write_stack(tmp_path / "flat", np.full((2, 5, 5), 7, np.uint16), voxel_um=VOXEL_UM)
    assert grey_window(open_volume(tmp_path / "flat")) == (7.0, 8.0)


def test_without_the_viewer_its_installation_is_named(folders, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    assert run(["view", str(folders / "stained.ome.zarr"), "--browser", "--viewer", "3d"]) == 2
    assert NO_VIEWER in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ct", "ct"], "need --browser"),
        (["--port", "8000"], "need --browser"),
        (["--no-open"], "need --browser"),
        (["--viewer", "3d"], "need --browser"),
        (["--labels", "labels"], "need --browser"),
        (["--uncertainty", "map"], "need --browser"),
        (["--at", "view=z"], "need --browser"),
        (["--browser", "--viewer", "4d"], "--viewer 4d: give planes or 3d"),
        (["--browser", "--viewer", "3d", "--at", "view=z"], "--at: is a link of the plane view"),
        (["--browser", "--at", "<script>"], "--at: is not a link"),
        (["--browser", "--labels", "nowhere"], "nowhere: no such label volume"),
        (["--browser", "--out", "pictures"], "writes no figures"),
        (["--browser", "--ct", "nowhere"], "nowhere: no such µCT volume"),
        (["--browser", "--port", "70000"], "port"),
    ],
)
def test_options_that_do_not_go_together(folders, capsys, options, words):
    assert run(["view", str(folders / "stained.ome.zarr"), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_second_ct_is_refused(folders, tmp_path):
    with (
        pytest.raises(InputError, match="is for a stained volume"),
        prepared_site(tmp_path, folders / "ct", folders / "ct"),
    ):
        pass


@pytest.fixture
def page(tmp_path):
    if chromium() is None:
        pytest.skip("no Chromium here: apt-get install chromium, or put chromium or google-chrome on the PATH")
    opened = Page(tmp_path / "profile", (1200, 900))
    yield opened
    opened.close()


def show(page, client, path: Path, ct: Path | None):
    """Serve a view, open it and return its picture when all is drawn."""
    with prepared_site(client, path, ct) as site:
        server = start_server(site, 0)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            page.send("Page.navigate", url=server.url_3d)
            page.wait_until("window.viewer !== undefined && viewer.layerManager.managedLayers.length > 0")
            page.wait_until("viewer.isReady()")
            page.evaluate("viewer.display.draw()")
            picture = page.picture()
            ours = f"http://127.0.0.1:{server.server_port}/"
            assert not [url for url in page.requests if not url.startswith((ours, "data:", "blob:", "about:"))]
        finally:
            server.shutdown()
            server.stop()
            thread.join()
    # For OME-Zarr 0.4 the viewer first requests the metadata of an array.
    assert not [fault for fault in page.faults if not fault.endswith("/.zarray")]
    return picture


def share(panel, colour, tolerance=3):
    """Return the share of a panel's pixels that have a colour."""
    return float((np.abs(panel.astype(int) - colour).max(axis=-1) <= tolerance).mean())


def panels(picture):
    """Cut the page into the interiors of its four panels, without buttons: xy, xz, 3D, yz."""
    rows, columns = (slice(90, 420), slice(520, 850)), (slice(40, 420), slice(510, 890))
    return [picture[row, column] for row in rows for column in columns]


@pytest.mark.slow
def test_known_colours_are_in_the_panels_where_they_belong(folders, client, page):
    xy, xz, rendering, yz = panels(show(page, client, folders / "stained.ome.zarr", None))
    # The xy plane is slice 24: green on the left, blue on the right, no red.
    half = xy.shape[1] // 2
    assert share(xy[:, : half - 15], GREEN) > 0.6
    assert share(xy[:, half + 15 :], BLUE) > 0.6
    assert share(xy, RED) == 0
    # The xz plane (z downwards): red on top, below it green and blue.
    assert share(xz[: xz.shape[0] // 2 - 20], RED) > 0.5
    assert share(xz[xz.shape[0] // 2 + 20 :, : half - 15], GREEN) > 0.4
    assert share(xz[xz.shape[0] // 2 + 20 :, half + 15 :], BLUE) > 0.4
    # The yz plane is x 48: blue and red side by side, no green.
    assert share(yz, BLUE) > 0.25
    assert share(yz, RED) > 0.25
    assert share(yz, GREEN) == 0
    # The rendering shows all of it in front of white, in its own colours.
    assert share(rendering, (255, 255, 255)) > 0.15
    assert share(rendering, RED, 40) > 0.05
    assert share(rendering, GREEN, 60) + share(rendering, BLUE, 60) > 0.02


@pytest.mark.slow
def test_ome_zarr_04_is_read_by_a_viewer_that_is_not_ours(folders, client, page, tmp_path):
    older = export(folders / "stained.ome.zarr", tmp_path / "older.ome.zarr", "ome-zarr-0.4")
    xy, xz, _, _ = panels(show(page, client, older, None))
    half = xy.shape[1] // 2
    assert share(xy[:, : half - 15], GREEN) > 0.6
    assert share(xy[:, half + 15 :], BLUE) > 0.6
    assert share(xz[: xz.shape[0] // 2 - 20], RED) > 0.5


@pytest.mark.slow
def test_the_ct_is_left_of_the_border_and_the_stain_right_of_it(folders, client, page):
    xy, xz, _, yz = panels(show(page, client, folders / "stained.ome.zarr", folders / "ct"))
    half = xy.shape[1] // 2
    assert share(xy[:, : half - 15], DARK, 6) > 0.25
    assert share(xy[:, : half - 15], (0, 0, 0)) > 0.25
    assert share(xy[:, : half - 15], GREEN) == 0
    assert share(xy[:, half + 15 :], BLUE) > 0.6
    assert share(xz[:, : half - 15], RED) == 0
    assert share(xz[: xz.shape[0] // 2 - 20, half + 15 :], RED) > 0.4
    assert share(yz, RED) > 0.25


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_ctrl_c_ends_the_view_as_it_should(folders):
    program = "import sys; from tomostain.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-u", "-c", program, "view", str(folders / "stained.ome.zarr"), "--browser", "--no-open"]
    # A parent that ignores Ctrl-C, like a background job, passes this on; Python would never receive the signal.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **heard) as viewer:
        said = ""
        while "Ctrl-C ends it" not in said:
            line = viewer.stdout.readline()
            assert line, said  # it ended by itself
            said += line
        viewer.send_signal(signal.SIGINT)
        rest = viewer.communicate(timeout=600)[0]
    assert (viewer.returncode, rest.strip()) == (0, "closed"), rest


_SERVE = """
import signal
import sys
from pathlib import Path
from tomostain.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
from tomostain.view.browser import view
view.client_folder = lambda: Path(".")
main(["-q", "view", "volume", "--browser", "--no-open"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_grey_copy_is_removed_however_the_server_ends(tmp_path, number):
    write_stack(tmp_path / "volume", np.random.default_rng(0).integers(0, 9, (4, 20, 21)).astype(np.uint8), voxel_um=5)
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}

    def serve(end):
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert "http://127.0.0.1" in process.stdout.readline()
        copies = [path.name for path in (tmp_path / "temporary").iterdir() if path.name.endswith("-view")]
        assert len(copies) == 1
        process.send_signal(end)
        return process.wait(600)

    code = serve(number)
    assert code == {signal.SIGTERM: 143, signal.SIGINT: 0, signal.SIGKILL: -9}[number]
    if number == signal.SIGKILL:  # nothing can be done at once, but the next one cleans up
        serve(signal.SIGTERM)
    assert list((tmp_path / "temporary").iterdir()) == []
