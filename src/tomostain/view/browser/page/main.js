// The page: loads the facts of the view, makes the panels and connects them.

import { AXES, PLANES, TITLES, reach, stepOf, toPlane } from "./planes.js";
import { Store, fromFragment, toFragment } from "./store.js";
import { TileStore } from "./tiles.js";
import { Panel } from "./panel.js";
import { listenTo } from "./input.js";
import { HELP, activePanel, listenToKeys } from "./keys.js";
import { makeControls } from "./controls.js";
import { Readout } from "./readout.js";
import { captionOf, compose, save } from "./picture.js";
import { element } from "./dom.js";
import { startTheme } from "./theme.js";

const $ = (id) => document.getElementById(id);
const [, root, token] = location.pathname.match(/^(.*)\/planes\/([^/]+)/);
const news = (text) => ($("news").textContent = text);

async function start() {
  const answer = await fetch(`${root}/facts/${token}`, { cache: "no-store" });
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  const facts = await answer.json();
  const store = new Store(facts);
  store.set(fromFragment(location.hash, store));
  const tiles = new TileStore(`${root}/tile/${token}/`, facts);
  const theme = startTheme($("theme"));
  document.title = `${facts.title} – tomostain`;
  $("title").textContent = facts.title;
  $("rendering").href = `${root}/start/${token}`;
  $("rendering").hidden = !facts.has_3d;

  const panels = Object.fromEntries(PLANES.map((id) => [id, makePanel(id, store, tiles)]));
  const visible = () => PLANES.map((id) => panels[id]).filter((panel) => panel.isVisible);
  const zoom = () => {
    const fitted = visible().filter((panel) => visible().length === 1 || panel.id !== "oblique");
    return store.view.zoom ?? Math.max(...fitted.map((panel) => panel.fitting));
  };
  const showControls = makeControls($("controls"), store);
  const readout = new Readout($("readout"), $("read-position"), facts);

  let last = panels.z;
  let pointer = null;
  let frame = 0;
  const schedule = () => {
    if (!frame) frame = requestAnimationFrame(draw);
  };
  function draw() {
    frame = 0;
    const um = zoom();
    for (const panel of Object.values(panels)) {
      panel.draw(um, theme.colours);
      panel.show(panel.isVisible && !panel.isComplete);
    }
    if (pointer?.panel.isVisible) readout.show(pointer.panel, pointer.point, um);
    else showFocused(um);
    if (store.isMoving) setTimeout(schedule, 220);
  }

  // Without a pointer, the values are those at the point of the planes in the focused panel.
  const showFocused = (um) => {
    const panel = visible().find(({ canvas }) => canvas === document.activeElement);
    if (panel) readout.show(panel, panel.toScreen(toPlane(panel.plane, store.view.position), um), um);
  };

  let written = 0;
  const writeAddress = () => {
    clearTimeout(written);
    written = setTimeout(() => history.replaceState(null, "", `#${toFragment(store.view, facts)}`), 250);
  };
  const layout = () => {
    const { layout: name } = store.view;
    $("panels").dataset.layout = name;
    for (const panel of Object.values(panels)) panel.box.hidden = !panel.isVisible;
    for (const button of $("layouts").children) button.setAttribute("aria-pressed", String(button.dataset.layout === name));
  };
  store.addEventListener("change", () => {
    layout();
    showControls();
    schedule();
    writeAddress();
  });
  tiles.addEventListener("loaded", schedule);
  tiles.addEventListener("failed", () => news("Part of a layer cannot be read, or the server ended: see its terminal."));
  theme.listen(schedule);
  const narrow = matchMedia("(max-width: 720px)");
  const showOne = () => narrow.matches && store.view.layout === "all" && store.set({ layout: "z" });
  const fold = () => {
    showOne();
    setControls(!narrow.matches);
  };
  narrow.addEventListener("change", fold);

  const actions = {
    fit: () => store.set({ zoom: null, centre: store.initial().centre }),
    swipe: () => store.view.layers.ct && store.view.layers.stain && store.set({ swiping: !store.view.swiping }),
    link: async () => {
      const link = `${location.origin}${location.pathname}#${toFragment(store.view, facts)}`;
      history.replaceState(null, "", link);
      try {
        await navigator.clipboard.writeText(link);
        news("Link copied.");
      } catch {
        news("Copy the link from the address bar.");
      }
    },
    picture: () => {
      save(compose(visible(), captionOf(store, visible()), theme.colours), `${facts.title.replace(/[^\w.-]+/g, "_")}.png`);
      news("Picture saved.");
    },
    theme: () => news(`Theme: ${theme.next()}`),
    help: () => $("help").showModal(),
  };
  for (const id of PLANES) {
    const panel = panels[id];
    const hover = (_, point) => {
      last = panel;
      pointer = { panel, point };
      readout.show(panel, point, zoom());
    };
    listenTo(panel, { store, zoom, hover, leave: () => { pointer = null; readout.clear(); schedule(); } });
    panel.canvas.addEventListener("focus", () => {
      last = panel;
      schedule();
    });
  }
  listenToKeys({ store, zoom, actions, active: () => activePanel(panels, store, last) });
  for (const button of $("layouts").children) button.addEventListener("click", () => store.set({ layout: button.dataset.layout }));
  for (const [id, name] of [["fit", "fit"], ["link", "link"], ["picture", "picture"], ["theme", "theme"], ["help-open", "help"]]) {
    $(id).addEventListener("click", actions[name]);
  }
  $("controls-toggle").addEventListener("click", () => setControls(document.body.classList.contains("without-controls")));
  $("help-rows").append(...HELP.map(([key, text]) => element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, text))));
  addEventListener("hashchange", () => {
    store.set(fromFragment(location.hash, store));
    showOne();
  });
  new ResizeObserver(schedule).observe($("panels"));
  fold();
  layout();
  showControls();
  schedule();
  // For tests and for scripts in the console.
  window.viewer = { store, tiles, panels, zoom, draw };
}

function setControls(shown) {
  document.body.classList.toggle("without-controls", !shown);
  $("controls-toggle").setAttribute("aria-expanded", String(shown));
}

function makePanel(id, store, tiles) {
  const { facts } = store;
  const axis = AXES.indexOf(id);
  const output = element("output", { "aria-live": "off" });
  const step = stepOf(id, facts);
  const change = () => {
    const value = Number(range.value);
    if (id === "oblique") store.set({ offset: value }, { moving: true });
    else store.set({ position: store.view.position.with(axis, value) });
  };
  const name = id === "oblique" ? "Offset of the oblique plane, µm" : `Position of the ${TITLES[id]} plane along ${id}, µm`;
  const range = element("input", { type: "range", step, "aria-label": name, oninput: change });
  const canvas = element("canvas", { tabindex: 0, role: "application" });
  const header = element("header", {}, element("h2", {}, TITLES[id]), range, output, element("span", { class: "busy", "aria-hidden": "true" }));
  const box = element("section", { class: "panel", "data-plane": id, "aria-label": `${TITLES[id]} plane` }, header, canvas);
  $("panels").append(box);
  const panel = new Panel(id, canvas, store, tiles);
  panel.box = box;
  panel.show = (busy) => {
    const limit = id === "oblique" ? Math.ceil(reach(store.view, facts) / step) * step : facts.size_um[axis];
    range.min = id === "oblique" ? -limit : 0;
    range.max = limit;
    const value = id === "oblique" ? store.view.offset : store.view.position[axis];
    range.value = value;
    output.value = `${Number(value.toFixed(1))} µm`;
    range.setAttribute("aria-valuetext", output.value);
    canvas.setAttribute("aria-label", panel.describe());
    box.setAttribute("aria-busy", String(busy));
  };
  return panel;
}

start().catch((error) => news(`The view cannot be shown: ${error.message}. Is the server still running?`));
