// The keys of the page, also listed in its help.

import { PLANES } from "./planes.js";
import { moveSlice, pan, zoomAt } from "./input.js";

const PAN_PX = 40;
const LAYOUT_KEYS = { 1: "all", 2: "z", 3: "y", 4: "x", 5: "oblique" };

export const HELP = [
  ["Wheel", "next or previous slice of the plane under the pointer (with Shift: ten slices)"],
  ["Ctrl or Alt + wheel, pinch", "zoom at the pointer"],
  ["Drag", "move the view; on the swipe line: move the line"],
  ["Click, tap", "the planes go through this point"],
  ["Page Up, Page Down", "previous, next slice of the active plane (with Shift: ten)"],
  ["Arrow keys", "move the view"],
  ["+, −, 0", "zoom in, zoom out, show all"],
  ["1 … 5", "all planes, xy, xz, yz, oblique"],
  ["[, ]", "move the swipe line; S switches it on and off"],
  ["L", "lines of the other planes on and off"],
  ["C, P, T, ?", "copy the link, save a picture, theme, this help"],
];

/** Listen to the keys. `actions` are those of the buttons; `active` returns the panel that is used. */
export function listenToKeys({ store, active, zoom, actions }) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isField(event.target) || document.querySelector("dialog[open]")) return;
    if (act(event, { store, panel: active(), zoom, actions })) event.preventDefault();
  });
}

function isField(target) {
  return target instanceof HTMLInputElement && target.type !== "checkbox";
}

function act(event, { store, panel, zoom, actions }) {
  const { view } = store;
  const steps = event.shiftKey ? 10 : 1;
  const [height, width] = panel.size;
  const scale = (factor) => zoomAt(store, panel, [width / 2, height / 2], factor, zoom());
  const move = (dx, dy) => event.target instanceof HTMLButtonElement ? undefined : pan(store, panel, [dx, dy], zoom());
  const deeds = {
    PageUp: () => moveSlice(store, panel.id, -steps),
    PageDown: () => moveSlice(store, panel.id, steps),
    ArrowLeft: () => move(PAN_PX, 0),
    ArrowRight: () => move(-PAN_PX, 0),
    ArrowUp: () => move(0, PAN_PX),
    ArrowDown: () => move(0, -PAN_PX),
    "+": () => scale(1.25),
    "=": () => scale(1.25),
    "-": () => scale(0.8),
    0: () => actions.fit(),
    "[": () => store.set({ swipe: view.swipe - 0.05 }),
    "]": () => store.set({ swipe: view.swipe + 0.05 }),
    s: () => actions.swipe(),
    l: () => store.set({ lines: !view.lines }),
    c: () => actions.link(),
    p: () => actions.picture(),
    t: () => actions.theme(),
    "?": () => actions.help(),
  };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const deed = LAYOUT_KEYS[key] ? () => store.set({ layout: LAYOUT_KEYS[key] }) : deeds[key];
  deed?.();
  return deed !== undefined;
}

/** Return the panel that keys act on: the focused one, the only visible one, or the one that was used last. */
export function activePanel(panels, store, last) {
  if (PLANES.includes(store.view.layout)) return panels[store.view.layout];
  return Object.values(panels).find((panel) => panel.canvas === document.activeElement) ?? last ?? panels.z;
}
