// The state of the view, and its form in the address of the page.

import { AXES, PLANES, clamp, middle, reach, snapped } from "./planes.js";

const LAYOUTS = ["all", ...PLANES];
const DEFAULT_OPACITY = { uncertainty: 0.7, labels: 0.5 };

export class Store extends EventTarget {
  constructor(facts) {
    super();
    this.facts = facts;
    this.view = this.initial();
    this.movingUntil = 0;
    this.direction = null; // the panel that was moved last, and the sign: {id, sign}
  }

  initial() {
    const layers = {};
    for (const layer of this.facts.layers) {
      layers[layer.name] = { on: layer.kind !== "uncertainty" && layer.kind !== "labels", opacity: DEFAULT_OPACITY[layer.kind] ?? 1 };
    }
    return {
      layout: "all",
      position: snapped(middle(this.facts), this.facts),
      centre: middle(this.facts),
      zoom: null, // µm per CSS pixel; null fits the window
      tilt: [30, 0],
      offset: 0,
      swipe: 0.5,
      swiping: "ct" in layers && "stain" in layers,
      lines: true,
      window: [0, 255],
      layers,
    };
  }

  /** Change the view. `moving`: more changes follow soon, so that coarse tiles of the oblique plane suffice. */
  set(patch, { moving = false } = {}) {
    this.view = valid({ ...this.view, ...patch }, this.facts);
    if (moving) this.movingUntil = performance.now() + 200;
    this.dispatchEvent(new Event("change"));
  }

  setLayer(name, patch) {
    this.set({ layers: { ...this.view.layers, [name]: { ...this.view.layers[name], ...patch } } });
  }

  get isMoving() {
    return performance.now() < this.movingUntil;
  }
}

function valid(view, facts) {
  const position = view.position.map((value, axis) => clamp(value, 0, facts.size_um[axis]));
  const centre = view.centre.map((value, axis) => clamp(value, 0, facts.size_um[axis]));
  const limit = reach(view, facts);
  const zoom = view.zoom === null ? null : clamp(view.zoom, facts.base_um / 64, Math.max(...facts.size_um, facts.base_um) / 50);
  return { ...view, position, centre, zoom, offset: clamp(view.offset, -limit, limit), swipe: clamp(view.swipe, 0, 1) };
}

/** Return the view as the part of an address after #. */
export function toFragment(view, facts) {
  const parts = { view: view.layout, at: list(view.position, 6) };
  if (view.zoom !== null) Object.assign(parts, { um: text(view.zoom, 5), mid: list(view.centre, 3) });
  parts.tilt = list(view.tilt, 3);
  parts.offset = text(view.offset, 3);
  parts.swipe = view.swiping ? text(view.swipe, 4) : "off";
  if (!view.lines) parts.lines = "off";
  if (view.window[0] !== 0 || view.window[1] !== 255) parts.window = list(view.window, 0);
  for (const { name } of facts.layers) {
    const layer = view.layers[name];
    parts[name] = layer.on ? text(layer.opacity, 3) : `off,${text(layer.opacity, 3)}`;
  }
  return Object.entries(parts).map(([key, value]) => `${key}=${value}`).join("&");
}

/** Return the view that a fragment states. What it does not state or states wrongly is as in the initial view. */
export function fromFragment(fragment, store) {
  const values = new Map(fragment.replace(/^#/, "").split("&").map((part) => part.split("=", 2)));
  const { facts } = store;
  const view = store.initial();
  const patch = { ...view, layers: { ...view.layers } };
  if (LAYOUTS.includes(values.get("view"))) patch.layout = values.get("view");
  take(patch, "position", numbers(values.get("at"), AXES.length));
  take(patch, "centre", numbers(values.get("mid"), AXES.length));
  take(patch, "zoom", numbers(values.get("um"), 1)?.[0], (zoom) => zoom > 0);
  take(patch, "tilt", numbers(values.get("tilt"), 2)?.map((angle) => clamp(angle, -90, 90)));
  take(patch, "offset", numbers(values.get("offset"), 1)?.[0]);
  take(patch, "window", numbers(values.get("window"), 2), ([low, high]) => low >= 0 && low < high && high <= 255);
  if (values.get("lines") === "off") patch.lines = false;
  if (view.layers.ct && view.layers.stain) {
    patch.swiping = values.get("swipe") !== "off";
    take(patch, "swipe", numbers(values.get("swipe"), 1)?.[0]);
  }
  for (const { name } of facts.layers) {
    const parts = (values.get(name) ?? "").split(",");
    const opacity = numbers(parts.at(-1), 1)?.[0];
    if (opacity !== undefined) patch.layers[name] = { on: parts[0] !== "off", opacity: clamp(opacity, 0, 1) };
  }
  return patch;
}

function take(patch, key, value, holds = () => true) {
  if (value !== undefined && holds(value)) patch[key] = value;
}

function numbers(value, count) {
  const parts = (value ?? "").split(",");
  const found = parts.map(Number);
  return parts.length === count && parts.every((part) => part.trim() !== "") && found.every(Number.isFinite) ? found : undefined;
}

function list(values, digits) {
  return values.map((value) => text(value, digits)).join(",");
}

function text(value, digits) {
  return String(Number(value.toFixed(digits)));
}
