// The visible planes as one PNG, with a caption.

import { AXES } from "./planes.js";

const GAP = 4;
const CAPTION = 30;

/** Return a canvas with the panels as they are arranged on the page. */
export function compose(panels, caption, colours) {
  const ratio = window.devicePixelRatio || 1;
  const boxes = panels.map((panel) => panel.canvas.getBoundingClientRect());
  const left = Math.min(...boxes.map((box) => box.left));
  const top = Math.min(...boxes.map((box) => box.top));
  const width = Math.max(...boxes.map((box) => box.right)) - left;
  const height = Math.max(...boxes.map((box) => box.bottom)) - top;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round((width + 2 * GAP) * ratio);
  canvas.height = Math.round((height + 2 * GAP + CAPTION) * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = colours.page;
  context.fillRect(0, 0, width + 2 * GAP, height + 2 * GAP + CAPTION);
  panels.forEach((panel, index) => {
    const box = boxes[index];
    const place = [box.left - left + GAP, box.top - top + GAP, box.width, box.height];
    context.fillStyle = colours.canvas;
    context.fillRect(...place);
    context.drawImage(panel.canvas, ...place);
  });
  context.fillStyle = colours.ink;
  context.font = "13px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.fillText(caption, GAP + 4, height + 2 * GAP + CAPTION / 2, width - 8);
  return canvas;
}

/** Return the caption: the volume, where the visible planes are, and whether the stain is shown. */
export function captionOf({ facts, view }, panels) {
  const short = (value) => Number(value.toFixed(1));
  const planes = panels.map(({ id }) => id);
  const parts = [];
  if (planes.some((id) => id !== "oblique")) parts.push(`${AXES.map((axis, index) => `${axis} ${short(view.position[index])}`).join(", ")} µm`);
  if (planes.includes("oblique")) {
    parts.push(`oblique plane: ${view.tilt.map((angle, index) => `${short(angle)}° about ${"xy"[index]}`).join(", ")}, offset ${short(view.offset)} µm`);
  }
  const stain = view.layers.stain;
  const note = stain?.on && stain.opacity > 0 ? " – virtual stain, computed from µCT" : "";
  return `${facts.title}: ${parts.join("; ")}${note}`;
}

/** Save a canvas as a file of the user. */
export async function save(canvas, name) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
