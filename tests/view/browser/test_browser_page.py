"""The page of the plane view in a real Chromium: effects of the mouse, the keys and the controls, and the drawing."""

import io
import itertools
import re
import threading

import numpy as np
import pytest
from PIL import Image

from tests.support.playwright_page import LATE_FRAMES, browser, wait_for_frame, wait_for_picture, wait_until
from tests.support.view_volumes import FACTOR, SIDE, STEP_UM, write_view
from tomostain.geometry.oblique import oblique_axes
from tomostain.io import create_stained
from tomostain.view.browser.plane_layers import Overlays
from tomostain.view.browser.server import PAGE
from tomostain.view.browser.view import prepared_site, start_server

MIDDLE = (SIDE // 2) * STEP_UM
"""Where the planes begin: the slice next to the middle, µm."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_view(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def server(folder):
    overlays = Overlays(folder / "uncertainty.ome.zarr", folder / "labels.ome.zarr")
    with prepared_site(None, folder / "stained.ome.zarr", folder / "ct", overlays=overlays) as site:
        yield from serving(site)


def serving(site):
    server = start_server(site, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.stop()
        thread.join()


class Opened:
    """A page, with what it asked for and what went wrong."""

    def __init__(self, chromium, url, **options):
        self.context = chromium.new_context(**{"viewport": {"width": 900, "height": 640}} | options)
        self.page = self.context.new_page()
        self.page.add_init_script(LATE_FRAMES)
        self.faults, self.requests = [], []
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        wait_until(self.page, "window.viewer")
        self.wait()

    def wait(self):
        wait_for_picture(self.page)

    @property
    def view(self):
        return self.page.evaluate("viewer.store.view")

    @property
    def address(self):
        return self.page.evaluate("location.href")

    def text(self, selector):
        """Return a text. The page writes it when it draws, in the next frame."""
        wait_for_frame(self.page)
        return self.page.text_content(selector)

    def label(self, plane):
        """Return the accessible name of a panel, which the page writes in the next frame."""
        wait_for_frame(self.page)
        return self.page.get_attribute(f"[data-plane={plane}] canvas", "aria-label")

    def box(self, plane):
        return self.page.locator(f"[data-plane={plane}] canvas").bounding_box()

    def at(self, plane, right=0.5, down=0.5):
        """Move the mouse to a place of a panel, and return the place on the page."""
        box = self.box(plane)
        place = box["x"] + right * box["width"], box["y"] + down * box["height"]
        self.page.mouse.move(*place)
        return place

    def picture(self, plane):
        self.wait()
        image = self.page.locator(f"[data-plane={plane}] canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).astype(int)


@pytest.fixture
def open_page(chromium, server):
    opened = []

    def open_it(fragment="", where=server, **options):
        opened.append(Opened(chromium, f"{where.url}{fragment}", **options))
        return opened[-1]

    yield open_it
    for each in opened:
        each.context.close()
        assert each.faults == []
        origin = re.match(r"http://127\.0\.0\.1:\d+/", each.requests[0])[0]
        assert not [url for url in each.requests if not url.startswith((origin, "blob:http://127.0.0.1"))]


def position_at(opened):
    """Return the position under the pointer as the page states it, and as the colour of the stain there says."""
    stated = [float(value) for value in re.findall(r"[zyx] (-?[\d.]+)", opened.text("#read-position"))]
    colour = [int(value) for value in opened.text("#read-stain").split(",")]
    return np.array(stated), np.array(colour) / FACTOR * STEP_UM


@pytest.mark.parametrize("plane", ["z", "y", "x", "oblique"])
def test_position_and_colour_under_the_pointer_agree(open_page, plane):
    opened = open_page("#tilt=35,20&offset=12&swipe=off")
    for right, down in ((0.5, 0.5), (0.42, 0.6), (0.57, 0.44)):
        opened.at(plane, right, down)
        stated, coloured = position_at(opened)
        # Half a voxel, and the rounding of a colour.
        assert np.abs(stated - coloured).max() <= STEP_UM / 2 + STEP_UM / FACTOR / 2 + 0.1
    if plane != "oblique":
        assert stated["zyx".index(plane)] == MIDDLE


def test_all_layers_are_read_under_the_pointer(open_page):
    opened = open_page("#uncertainty=0.5&labels=0.5")
    opened.at("z", 0.6, 0.55)
    (_, _, x), _ = position_at(opened)
    assert float(opened.text("#read-ct")) == pytest.approx(1000 + 100 * round(x / STEP_UM), abs=30)
    assert opened.text("#read-uncertainty") == f"{round(SIDE // 2 * FACTOR / 255 * 100)} %"
    assert opened.text("#read-labels") == "mineralised bone"
    opened.at("z", 0.02, 0.02)
    assert (opened.text("#read-position"), opened.text("#read-stain")) == ("outside", "–")


def test_the_wheel_changes_the_slice_and_with_ctrl_the_zoom(open_page):
    opened = open_page()
    opened.at("z")
    opened.page.mouse.wheel(0, 100)
    assert opened.view["position"] == [MIDDLE + STEP_UM, MIDDLE, MIDDLE]
    opened.wait()
    assert position_at(opened)[1][0] == MIDDLE + STEP_UM
    for _ in range(5):  # a touchpad
        opened.page.mouse.wheel(0, -20)
    assert opened.view["position"][0] == MIDDLE - STEP_UM
    opened.at("x")
    opened.page.mouse.wheel(0, -100)
    assert opened.view["position"][2] == MIDDLE - STEP_UM
    opened.at("oblique")
    opened.page.mouse.wheel(0, 100)
    assert opened.view["offset"] == STEP_UM

    opened.at("z", 0.6, 0.6)
    before, _ = position_at(opened)
    opened.page.keyboard.down("Control")
    opened.page.mouse.wheel(0, -100)
    opened.page.keyboard.up("Control")
    opened.wait()
    opened.at("z", 0.6001, 0.6)
    assert opened.view["zoom"] < 2
    np.testing.assert_allclose(position_at(opened)[0], before, atol=0.6)


def test_dragging_moves_the_view_and_a_click_the_planes(open_page):
    opened = open_page("#um=1&mid=147.5,147.5,147.5")
    place = opened.at("y", 0.3, 0.5)
    opened.page.mouse.down()
    opened.page.mouse.move(place[0] + 30, place[1] - 20, steps=3)
    opened.page.mouse.up()
    assert opened.view["centre"] == pytest.approx([167.5, 147.5, 117.5])
    assert opened.view["position"] == [MIDDLE] * 3
    opened.at("y", 0.4, 0.3)
    stated, _ = position_at(opened)
    opened.page.mouse.down()
    opened.page.mouse.up()
    # The centres of the voxels there: a plane between two slices would be interpolated.
    assert opened.view["position"] == (np.rint(stated / STEP_UM) * STEP_UM).tolist()


def test_the_swipe_line_is_dragged_without_a_request(open_page):
    opened = open_page("#lines=off")
    place = opened.at("z", 0.5, 0.3)
    opened.wait()
    count = opened.page.evaluate("viewer.tiles.requests")
    opened.page.mouse.down()
    opened.page.mouse.move(place[0] + 60, place[1], steps=6)
    opened.page.mouse.up()
    opened.wait()
    assert opened.page.evaluate("viewer.tiles.requests") == count
    box = opened.box("z")
    assert opened.view["swipe"] == pytest.approx((place[0] + 60 - box["x"]) / box["width"], abs=0.01)
    # Left of the line the µCT is grey, right of it the stain is coloured.
    row = opened.picture("z")[round(box["height"] * 0.7)]
    line = round(opened.view["swipe"] * box["width"])
    assert (row[line - 40 : line - 8].max(axis=1) == row[line - 40 : line - 8].min(axis=1)).all()
    assert (np.ptp(row[line + 8 : line + 40], axis=1) > 20).all()


def test_opacity_mixes_stain_and_ct(open_page):
    opened = open_page("#swipe=off&lines=off&stain=1")
    stain = opened.picture("z")
    opened.page.get_by_label("Stain: opacity").fill("0.5")
    mixed = opened.picture("z")
    opened.page.get_by_label("Stain", exact=True).uncheck()
    ct = opened.picture("z")
    middle = np.array(stain.shape[:2]) // 2
    inner = tuple(slice(at - 60, at + 60) for at in middle)
    assert np.abs(mixed[inner] - (stain[inner] + ct[inner]) / 2).max() <= 2
    assert np.abs(stain[inner] - ct[inner]).max() > 50


def test_contrast_and_classes_are_drawn_without_a_request(open_page):
    opened = open_page("#stain=off,1&lines=off&labels=off,1")
    count = opened.page.evaluate("viewer.tiles.requests")
    opened.page.get_by_label("grey value shown black").fill("120")
    picture = opened.picture("z")
    assert opened.page.evaluate("viewer.tiles.requests") == count
    middle = np.array(picture.shape[:2]) // 2
    assert picture[middle[0], middle[1] - 60].tolist() == [0, 0, 0]
    opened.page.get_by_label("Tissue classes", exact=True).check()
    picture = opened.picture("z")
    assert picture[middle[0], middle[1] - 60].tolist() == [153, 190, 222]
    assert picture[middle[0], middle[1] + 60].tolist() == [150, 90, 170]


def test_a_link_restores_the_view_in_a_new_page(open_page):
    opened = open_page()
    opened.page.get_by_label("Tilt about the y axis").fill("25")
    opened.page.get_by_label("Tissue classes", exact=True).check()
    opened.page.click("[data-layout=oblique]")
    opened.page.get_by_label("y, µm", exact=True).fill("40")
    opened.page.keyboard.press("Enter")
    opened.page.mouse.move(10, 10)
    opened.page.click("#link")
    picture, view = opened.picture("oblique"), opened.view
    again = open_page("#" + opened.address.partition("#")[2])
    for key in ("layout", "position", "tilt", "offset", "swipe", "layers"):
        assert again.view[key] == view[key]
    assert view["tilt"] == [30, 25]
    assert view["position"][1] == 40
    assert np.abs(again.picture("oblique") - picture).max() <= 1


def test_a_link_restores_the_view_in_an_open_page(open_page):
    opened = open_page("#um=2&mid=10,20,30&lines=off&window=20,200&labels=0.4&stain=off,0.5&swipe=off&view=x")
    assert (opened.view["lines"], opened.view["zoom"], opened.view["swiping"]) == (False, 2, False)
    plain = open_page()
    plain.page.click("#link")
    link = plain.address.partition("#")[2]
    assert "um=" not in link  # what is as in the initial view is left out
    opened.page.evaluate(f"location.hash = '#{link}'")
    wait_until(opened.page, "viewer.store.view.zoom === null")
    assert opened.view == plain.view


def test_a_position_between_whole_micrometres_is_exact_in_a_request(open_page):
    opened = open_page()
    query = """import('./planes.js').then((m) => {
        const facts = { size_um: [9, 9, 9], voxel_um: [1 / 3, 1 / 3, 1 / 3] };
        const position = m.snapped([2.4, 20, -1], facts);
        return [position, m.planeOf('z', { position }, facts).query];
    })"""
    position, text = opened.page.evaluate(query)
    assert position == pytest.approx([7 / 3, 9, 0])
    assert text == "axis=z&at=2.333333"


def test_a_grey_value_beyond_the_window_is_a_limit(open_page):
    opened = open_page()
    call = "import('./controls.js').then((m) => [0, 51, 255].map((value) => m.greyText(value, [1000, 2000])))"
    assert opened.page.evaluate(call) == ["≤ 1000", "1200", "≥ 2000"]
    assert opened.page.locator("[aria-label='µCT: grey value shown black'] + output").text_content().startswith("≤ ")


def test_a_tile_that_failed_is_requested_again(open_page):
    opened = open_page()
    opened.page.evaluate("viewer.tiles.retryMs = 300")
    failing = []
    opened.page.route("**/tile/**", lambda route: (failing.append(route.request.url), route.abort()))
    opened.page.evaluate("viewer.store.set({ position: [10, 10, 10] })")
    wait_until(opened.page, "[...viewer.tiles.tiles.values()].some(({ state }) => state === 'failed')")
    assert failing
    opened.page.unroute("**/tile/**")
    # Nobody moves, and the tiles come.
    wait_until(opened.page, "[...viewer.tiles.needed].every((key) => viewer.tiles.tiles.get(key)?.state === 'ready')")
    opened.wait()
    opened.at("z")
    assert position_at(opened)[1][0] == 10
    opened.faults.clear()


@pytest.mark.parametrize("plane", ["y", "x"])
def test_the_outermost_voxels_are_shown_as_a_whole(tmp_path, open_page, plane):
    writer = create_stained(tmp_path / "thin.ome.zarr", (1, 40, 40), (40.0, 5.0, 5.0), z_chunk=1, provenance={})
    writer.write(0, np.full((1, 40, 40, 3), (200, 30, 60), np.uint8))
    writer.finish()
    with prepared_site(None, tmp_path / "thin.ome.zarr") as site:
        for alone in serving(site):
            opened = open_page(f"#view={plane}&um=0.5&mid=0,97.5,97.5&lines=off", where=alone)
            picture = opened.picture(plane)
            column = (picture[:, picture.shape[1] // 2] == (200, 30, 60)).all(axis=-1)
            # 40 µm, and half a pixel of the tile on both sides.
            assert 40 / 0.5 - 1 <= column.sum() <= 45 / 0.5 + 1
            assert column[picture.shape[0] // 2 - 39]
            assert column[picture.shape[0] // 2 + 38]


def test_after_a_pinch_the_remaining_finger_moves_the_view(open_page):
    opened = open_page("#um=1&mid=147.5,147.5,147.5&swipe=off&view=z", has_touch=True)
    box = opened.box("z")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    opened.page.evaluate("viewer.panels.z.canvas.setPointerCapture = () => {}")  # knows no pointer of a script

    def touch(kind, number, right, down):
        options = {"pointerId": number, "pointerType": "touch", "clientX": x + right, "clientY": y + down}
        opened.page.evaluate(
            "([kind, options]) => viewer.panels.z.canvas.dispatchEvent(new PointerEvent(`pointer${kind}`, options))",
            [kind, options],
        )

    touch("down", 7, -40, 0)
    touch("down", 8, 40, 0)
    touch("move", 7, -50, 0)
    touch("move", 8, 50, 0)
    touch("up", 8, 50, 0)
    centre, zoom = opened.view["centre"], opened.view["zoom"]
    assert zoom == pytest.approx(0.8)
    touch("move", 7, -30, 20)
    touch("up", 7, -30, 20)
    assert opened.view["zoom"] == zoom
    moved = np.subtract(opened.view["centre"], centre)
    np.testing.assert_allclose(moved, [0, -20 * zoom, -20 * zoom], atol=0.05)
    assert opened.view["position"] == [MIDDLE] * 3


def test_the_caption_states_what_is_shown(open_page):
    opened = open_page("#at=100,120,140&tilt=30,-12.5&offset=40")
    caption = """import('./picture.js').then((m) => m.captionOf(
        viewer.store, Object.values(viewer.panels).filter((panel) => panel.isVisible)))"""
    title, place, oblique = "stained.ome.zarr", "z 100, y 120, x 140 µm", "oblique plane: 30° about x, -12.5° about y"
    note = " – virtual stain, computed from µCT"
    assert opened.page.evaluate(caption) == f"{title}: {place}; {oblique}, offset 40 µm{note}"
    opened.page.evaluate("viewer.store.set({ layout: 'oblique' })")
    assert opened.page.evaluate(caption) == f"{title}: {oblique}, offset 40 µm{note}"
    opened.page.evaluate("viewer.store.set({ layout: 'z' })")
    opened.page.evaluate("viewer.store.setLayer('stain', { on: false })")
    assert opened.page.evaluate(caption) == f"{title}: {place}"


def test_without_a_mouse_the_values_are_those_at_the_point_of_the_planes(open_page):
    opened = open_page("#at=100,120,140")
    assert opened.text("#read-position") == "–"
    assert opened.page.evaluate("[...document.querySelectorAll('output')].every((each) => each.ariaLive === 'off')")
    opened.page.locator("[data-plane=y] canvas").focus()
    opened.wait()
    assert opened.text("#read-position") == "z 100.0  y 120.0  x 140.0 µm"
    assert opened.text("#read-stain") == ", ".join(str(int(value / STEP_UM * FACTOR)) for value in (100, 120, 140))
    opened.page.keyboard.press("PageDown")
    opened.wait()
    assert opened.text("#read-position") == "z 100.0  y 125.0  x 140.0 µm"


def test_a_wrong_link_is_left_out_and_shows_the_volume(open_page):
    wrong = "#view=<b>&at=1,2&tilt=500,x&um=-3&swipe=none&window=9,2&stain=x&&=&toString=1"
    opened = open_page(wrong)
    plain = open_page()
    assert {**opened.view, "swipe": 0.5} == plain.view


def test_keys(open_page):
    opened = open_page()
    press = opened.page.keyboard.press
    opened.page.locator("[data-plane=y] canvas").focus()
    press("PageDown")
    press("Shift+PageDown")
    assert opened.view["position"] == [MIDDLE, MIDDLE + 11 * STEP_UM, MIDDLE]
    assert opened.label("y") == f"xz plane, slice {SIDE // 2 + 12} of {SIDE}"
    centre = opened.view["centre"]
    press("ArrowLeft")
    assert opened.view["centre"][2] < centre[2]
    zoom = opened.view["zoom"]
    press("+")
    assert opened.view["zoom"] == pytest.approx(zoom / 1.25)
    press("0")
    assert opened.view["zoom"] is None
    press("]")
    assert opened.view["swipe"] == pytest.approx(0.55)
    press("s")
    press("l")
    assert (opened.view["swiping"], opened.view["lines"]) == (False, False)
    press("3")
    assert opened.view["layout"] == "y"
    assert opened.page.locator(".panel:visible").count() == 1
    press("?")
    assert opened.page.locator("#help").is_visible()
    press("Escape")
    assert not opened.page.locator("#help").is_visible()
    press("t")
    assert opened.page.evaluate("document.documentElement.dataset.theme") == "light"


def test_the_picture_is_saved(open_page):
    opened = open_page()
    with opened.page.expect_download() as download:
        opened.page.click("#picture")
    assert download.value.suggested_filename == "stained.ome.zarr.png"
    picture = np.asarray(Image.open(download.value.path()).convert("RGB"))
    assert picture.shape[0] > 500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500


def test_a_narrow_page_shows_one_plane_and_folds_its_controls(open_page):
    opened = open_page(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    assert opened.page.locator(".panel:visible").count() == 1
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.box("z")["height"] > 350
    assert not opened.page.locator("#controls").is_visible()
    opened.page.tap("#controls-toggle")
    assert opened.page.locator("#controls").is_visible()
    opened.page.tap("[data-layout=x]")
    assert opened.view["layout"] == "x"
    box = opened.box("x")
    opened.page.touchscreen.tap(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2)
    assert opened.view["position"][1] > MIDDLE


def test_requests_of_a_plane_that_was_left_are_cancelled(open_page):
    opened = open_page("#view=oblique")
    opened.page.evaluate(
        """(async () => { for (let tilt = 0; tilt < 40; tilt += 1) {
            viewer.store.set({ tilt: [tilt, 3] }, { moving: true });
            await new Promise(requestAnimationFrame);
        } })()"""
    )
    opened.wait()
    assert opened.page.evaluate("viewer.tiles.loading.size") == 0
    assert opened.view["tilt"] == [39, 3]
    shown = opened.page.evaluate("viewer.panels.oblique.shown.stain.plane.query")
    assert "tilt_x=39&tilt_y=3" in shown


def test_the_formulas_of_the_page_are_those_of_geometry(open_page):
    opened = open_page()
    for tilt in itertools.product((-80, -25, 0, 40, 90), repeat=2):
        axes = opened.page.evaluate(f"import('./planes.js').then((m) => m.obliqueAxes({tilt[0]}, {tilt[1]}))")
        found = [axes[name] for name in ("down", "right", "normal")]
        np.testing.assert_allclose(found, np.stack(oblique_axes(*tilt)), atol=1e-12)


def test_the_scale_bar_has_a_round_length(open_page):
    opened = open_page()
    call = "import('./marks.js').then((m) => [0.013, 7, 99.9, 100, 4999].map((v) => m.lengthText(m.roundLength(v))))"
    assert opened.page.evaluate(call) == ["0.01 µm", "5 µm", "50 µm", "100 µm", "2 mm"]


@pytest.mark.parametrize("kind", ["ct", "stained.ome.zarr"])
def test_a_single_volume_is_shown(folder, open_page, kind):
    with prepared_site(None, folder / kind) as site:
        for alone in serving(site):
            opened = open_page(where=alone)
            assert opened.page.get_by_label("Swipe line").count() == 0
            opened.page.keyboard.press("s")
            assert opened.view["swiping"] is False
            picture = opened.picture("z")
            assert np.ptp(picture[80:160, 120:200]) > 50
            opened.at("z", 0.4, 0.4)
            assert opened.text("#read-ct" if kind == "ct" else "#read-stain") != "–"


def test_every_control_has_a_name_and_can_be_reached_by_keys(open_page):
    opened = open_page("#uncertainty=1&labels=1")
    nameless = opened.page.evaluate(
        """[...document.querySelectorAll("button, input, a[href], canvas")].filter((each) => {
            const label = each.getAttribute("aria-label") || each.labels?.[0]?.textContent || each.textContent;
            return !label.trim();
        }).map((each) => each.outerHTML)"""
    )
    assert nameless == []
    assert opened.page.evaluate("[...document.querySelectorAll('[tabindex]')].every((each) => each.tabIndex === 0)")
    ids = opened.page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
    assert opened.page.evaluate("document.documentElement.lang") == "en"
    small = opened.page.evaluate(
        """[...document.querySelectorAll("button, a.button")].filter((each) => each.offsetHeight)
            .filter((each) => each.offsetHeight < 24 || each.offsetWidth < 24).map((each) => each.id)"""
    )
    assert small == []


def luminance(colour):
    """Return the relative luminance (WCAG 2.2) of #rrggbb."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [":root ", ':root[data-theme="dark"] '])
def test_the_contrast_of_the_colours_suffices(theme):
    css = (PAGE / "colours.css").read_text(encoding="utf-8")
    block = re.search(re.escape(theme) + r"\{(.*?)\}", css, re.DOTALL)[1]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))

    def contrast(one, other):
        dark, light = sorted((luminance(colours[one]), luminance(colours[other])))
        return (light + 0.05) / (dark + 0.05)

    for text in ("ink", "muted"):
        for ground in ("page", "surface"):
            assert contrast(text, ground) >= 4.5, (text, ground)
    assert contrast("on-accent", "accent") >= 4.5
    for name in ("z", "y", "x", "oblique"):
        assert contrast(name, "surface") >= 4.5, name
    for name in ("edge", "accent"):
        for ground in ("page", "surface"):
            assert contrast(name, ground) >= 3, (name, ground)
