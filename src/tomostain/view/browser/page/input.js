// Mouse, touch and wheel of a panel, and what they change in the view.

import { AXES, add, snapped, stepOf } from "./planes.js";

const SWIPE_PX = { mouse: 8, pen: 14, touch: 22 };
const CLICK_PX = 4;
const NOTCH = 50; // a wheel event of at least this many pixels is one step; smaller ones, of a touchpad, are added up

/** Move a plane by whole steps along its normal. */
export function moveSlice(store, id, steps, options) {
  const step = stepOf(id, store.facts);
  store.direction = { id, sign: Math.sign(steps) };
  if (id === "oblique") {
    store.set({ offset: (Math.round(store.view.offset / step) + steps) * step }, { moving: true, ...options });
    return;
  }
  const axis = AXES.indexOf(id);
  const position = [...store.view.position];
  position[axis] = (Math.round(position[axis] / step) + steps) * step;
  store.set({ position });
}

/** Zoom by a factor; the place under the point of the screen stays there. */
export function zoomAt(store, panel, point, factor, zoom) {
  const place = panel.volumeAt(point, zoom);
  store.set({ zoom: zoom / factor });
  const moved = panel.volumeAt(point, store.view.zoom);
  store.set({ centre: add(add(store.view.centre, place), moved, -1) });
}

/** Move the view by CSS pixels. */
export function pan(store, panel, [dx, dy], zoom) {
  const { down, right } = panel.plane;
  store.set({ zoom, centre: add(add(store.view.centre, down, -dy * zoom), right, -dx * zoom) });
}

export function listenTo(panel, { store, zoom, hover, leave }) {
  const { canvas } = panel;
  const pointers = new Map();
  let mode = null; // "swipe", "pan", "pinch"
  let travelled = 0;
  let wheel = 0;

  const placeOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const onSwipe = (event) => {
    const { view } = store;
    const reach = SWIPE_PX[event.pointerType] ?? SWIPE_PX.mouse;
    return view.swiping && view.layers.stain.on && Math.abs(placeOf(event)[0] - view.swipe * canvas.clientWidth) <= reach;
  };

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : 40;
    const delta = (event.deltaY || event.deltaX) * lines;
    if (event.ctrlKey || event.metaKey || event.altKey) {
      zoomAt(store, panel, placeOf(event), 2 ** (-Math.max(-100, Math.min(delta, 100)) / 200), zoom());
      return;
    }
    if (Math.abs(delta) >= NOTCH) wheel = Math.sign(delta) * NOTCH;
    else wheel += delta;
    const steps = Math.trunc(wheel / NOTCH);
    if (steps) moveSlice(store, panel.id, steps * (event.shiftKey ? 10 : 1));
    wheel -= steps * NOTCH;
  }, { passive: false });

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 && event.button !== 1) return;
    if (event.button === 1) event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, placeOf(event));
    if (pointers.size === 2) mode = "pinch";
    else if (pointers.size === 1) {
      travelled = 0;
      mode = onSwipe(event) ? "swipe" : "pan";
    }
  });

  canvas.addEventListener("pointermove", (event) => {
    const point = placeOf(event);
    hover(panel, point);
    const before = pointers.get(event.pointerId);
    if (!before) {
      canvas.classList.toggle("on-swipe", onSwipe(event));
      return;
    }
    const shift = [point[0] - before[0], point[1] - before[1]];
    travelled += Math.hypot(...shift);
    if (mode === "pinch") pinch(event.pointerId, before, point, shift);
    else if (mode === "swipe") store.set({ swipe: point[0] / canvas.clientWidth });
    else if (travelled > CLICK_PX) {
      canvas.classList.add("panning");
      pan(store, panel, shift, zoom());
    } else return;
    pointers.set(event.pointerId, point);
  });

  function pinch(moved, before, point, shift) {
    const other = [...pointers].find(([id]) => id !== moved)?.[1];
    if (!other) return;
    const [near, far] = [before, point].map((each) => Math.hypot(each[0] - other[0], each[1] - other[1]));
    pan(store, panel, [shift[0] / 2, shift[1] / 2], zoom());
    if (near > 10 && far > 10) zoomAt(store, panel, [(point[0] + other[0]) / 2, (point[1] + other[1]) / 2], far / near, zoom());
  }

  const release = (event) => {
    const point = pointers.get(event.pointerId);
    if (!point) return;
    pointers.delete(event.pointerId);
    canvas.classList.remove("panning");
    if (event.type === "pointerup" && event.button === 0 && mode === "pan" && travelled <= CLICK_PX) {
      store.set({ position: snapped(panel.volumeAt(point, zoom()), store.facts) });
    }
    if (pointers.size === 0) mode = null;
    else if (mode === "pinch" && pointers.size === 1) {
      mode = "pan"; // the remaining finger moves the view, and its end is no tap
      travelled = CLICK_PX + 1;
    }
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => leave());
}
