// The controls at the side: layers, comparison, oblique plane, point.

import { AXES, dot, add, middle, obliqueAxes, reach } from "./planes.js";
import { checkbox, element, slider } from "./dom.js";
import { heat } from "./paint.js";

export const LAYER_TITLES = { ct: "µCT", stain: "Stain", uncertainty: "Uncertainty", labels: "Tissue classes" };

const percent = (value) => `${Math.round(value * 100)} %`;
const degrees = (value) => `${Number(value.toFixed(1))}°`;
const micrometres = (value) => `${Math.round(value)} µm`;

/** Fill the controls. Returns a function that shows the view in them. */
export function makeControls(root, store) {
  const parts = [layers(store), compare(store), oblique(store), point(store)].filter(Boolean);
  root.append(...parts.map(({ box }) => box));
  return () => parts.forEach(({ show }) => show(store.view));
}

function group(title, ...rows) {
  return element("fieldset", {}, element("legend", {}, title), ...rows);
}

function layers(store) {
  const rows = [];
  const shows = [];
  for (const layer of store.facts.layers) {
    const { name, kind } = layer;
    const title = LAYER_TITLES[kind];
    const on = checkbox({ label: title, change: (value) => store.setLayer(name, { on: value }) });
    rows.push(on.row);
    shows.push((view) => on.write(view.layers[name].on));
    if (kind === "ct") {
      const [black, white] = contrast(store, layer.window);
      rows.push(black.row, white.row);
      shows.push((view) => [black, white].forEach((each, index) => each.write(view.window[index])));
    } else {
      const opacity = slider({ label: "opacity", min: 0, max: 1, step: 0.01, text: percent, change: (value) => store.setLayer(name, { opacity: value, on: true }) });
      opacity.row.querySelector("input").setAttribute("aria-label", `${title}: opacity`);
      rows.push(opacity.row);
      shows.push((view) => opacity.write(view.layers[name].opacity));
    }
    if (kind === "labels") rows.push(legend(layer.labels));
    if (kind === "uncertainty") rows.push(scale());
  }
  return { box: group("Layers", ...rows), show: (view) => shows.forEach((show) => show(view)) };
}

function contrast(store, window) {
  const text = (value) => greyText(value, window);
  const change = (index) => (value) => {
    const next = [...store.view.window];
    next[index] = index === 0 ? Math.min(value, next[1] - 1) : Math.max(value, next[0] + 1);
    store.set({ window: next });
  };
  return ["black", "white"].map((label, index) => {
    const made = slider({ label, min: 0, max: 255, step: 1, text, change: change(index) });
    made.row.querySelector("input").setAttribute("aria-label", `µCT: grey value shown ${label}`);
    return made;
  });
}

/** Return the grey value of the volume for a byte of its copy. The bytes 0 and 255 also stand for all values beyond them. */
export function greyText(value, window) {
  const [low, high] = window ?? [0, 255];
  const grey = low + (value / 255) * (high - low);
  const sign = value <= 0 ? "≤ " : value >= 255 ? "≥ " : "";
  return sign + Number(grey.toPrecision(Math.abs(grey) >= 1000 ? 4 : 3));
}

function swatch(rgb) {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.background = `rgb(${rgb.join(" ")})`;
  return made;
}

function legend(labels) {
  return element("ul", { class: "key", "aria-label": "Colours of the tissue classes" }, ...labels.map(({ name, rgb }) => element("li", {}, swatch(rgb), name)));
}

function scale() {
  const steps = [0.25, 0.5, 0.75, 1];
  const items = steps.map((share) => element("li", {}, swatch(heat(share).slice(0, 3)), percent(share)));
  return element("ul", { class: "key scale", "aria-label": "Colours of the uncertainty" }, ...items);
}

function compare(store) {
  const rows = [];
  const shows = [];
  if (store.view.layers.ct && store.view.layers.stain) {
    const on = checkbox({ label: "Swipe line (µCT to its left)", change: (value) => store.set({ swiping: value }) });
    const line = slider({ label: "position", min: 0, max: 1, step: 0.005, text: percent, change: (value) => store.set({ swipe: value, swiping: true }) });
    line.row.querySelector("input").setAttribute("aria-label", "Position of the swipe line");
    rows.push(on.row, line.row);
    shows.push((view) => on.write(view.swiping), (view) => line.write(view.swipe));
  }
  const lines = checkbox({ label: "Lines of the other planes", change: (value) => store.set({ lines: value }) });
  rows.push(lines.row);
  shows.push((view) => lines.write(view.lines));
  return { box: group("Lines", ...rows), show: (view) => shows.forEach((show) => show(view)) };
}

function oblique(store) {
  const moving = { moving: true };
  const tilts = ["x", "y"].map((axis, index) =>
    slider({
      label: `about ${axis}`, min: -90, max: 90, step: 0.5, text: degrees,
      change: (value) => store.set({ tilt: store.view.tilt.with(index, value) }, moving),
    }));
  tilts.forEach(({ row }, index) => row.querySelector("input").setAttribute("aria-label", `Tilt about the ${"xy"[index]} axis, degrees`));
  const step = store.facts.base_um;
  const offset = slider({ label: "offset", min: 0, max: 0, step, text: micrometres, change: (value) => store.set({ offset: value }, moving) });
  offset.row.querySelector("input").setAttribute("aria-label", "Offset of the oblique plane from the middle, µm");
  const through = element("button", { type: "button", onclick: () => {
    const { normal } = obliqueAxes(...store.view.tilt);
    store.set({ offset: dot(add(store.view.position, middle(store.facts), -1), normal) });
  } }, "Through the point");
  const reset = element("button", { type: "button", onclick: () => store.set({ tilt: [0, 0], offset: 0 }) }, "Level");
  const show = (view) => {
    tilts.forEach((tilt, index) => tilt.write(view.tilt[index]));
    const limit = Math.ceil(reach(view, store.facts) / step) * step;
    offset.write(view.offset, [-limit, limit]);
  };
  return { box: group("Oblique plane", ...tilts.map(({ row }) => row), offset.row, element("div", { class: "row" }, through, reset)), show };
}

function point(store) {
  const inputs = AXES.map((axis, index) =>
    element("input", {
      type: "number", id: `point-${axis}`, min: 0, max: store.facts.size_um[index], step: "any",
      onchange: (event) => {
        const value = Number(event.target.value);
        if (event.target.value !== "" && Number.isFinite(value)) store.set({ position: store.view.position.with(index, value) });
      },
    }));
  const rows = AXES.map((axis, index) =>
    element("div", { class: "row" }, element("label", { for: `point-${axis}` }, `${axis}, µm`), inputs[index]));
  const show = (view) => inputs.forEach((input, index) => {
    if (input !== document.activeElement) input.value = Number(view.position[index].toFixed(2));
  });
  return { box: group("Point", ...rows), show };
}
