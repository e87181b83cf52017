// From the 8 bits of a tile to what is drawn: the contrast of the µCT, the colours of uncertainty and tissue classes.

const VOID = 0;
const painted = new WeakMap(); // by bitmap: {style, canvas}

/** Return what is drawn for a tile of a layer. */
export function paint(bitmap, layer, view) {
  if (layer.kind === "stain") return bitmap;
  if (layer.kind === "ct" && view.window[0] === 0 && view.window[1] === 255) return bitmap;
  const style = layer.kind === "ct" ? view.window.join() : layer.kind;
  const before = painted.get(bitmap);
  if (before?.style === style) return before.canvas;
  const canvas = before?.canvas ?? new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  recolour(new Uint32Array(image.data.buffer), tableOf(layer, view));
  context.putImageData(image, 0, 0);
  painted.set(bitmap, { style, canvas });
  return canvas;
}

function recolour(pixels, table) {
  for (let index = 0; index < pixels.length; index += 1) {
    const pixel = pixels[index];
    pixels[index] = pixel >>> 24 === 255 ? table[pixel & 255] : 0;
  }
}

function tableOf(layer, view) {
  if (layer.kind === "ct") return Uint32Array.from({ length: 256 }, (_, value) => grey(value, view.window));
  if (layer.kind === "uncertainty") return Uint32Array.from({ length: 256 }, (_, value) => packed(...heat(value / 255)));
  const table = new Uint32Array(256);
  for (const { value, rgb } of layer.labels) table[value] = packed(...rgb, value === VOID ? 0 : 255);
  return table;
}

function grey(value, [low, high]) {
  const shown = Math.min(Math.max(Math.round(((value - low) / (high - low)) * 255), 0), 255);
  return packed(shown, shown, shown, 255);
}

/** Return red, green, blue and alpha of an uncertainty: clear, then yellow, then dark red. */
export function heat(share) {
  return [255 - 105 * share ** 2, 220 * (1 - share), 0, 255 * Math.min(1, share * 1.5)].map(Math.round);
}

function packed(red, green, blue, alpha) {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

/** Return [red, green, blue] of a pixel of a tile; null outside of the volume. */
export function pixelOf(bitmap, row, column) {
  probe.clearRect(0, 0, 1, 1);
  probe.drawImage(bitmap, -column, -row);
  const [red, green, blue, alpha] = probe.getImageData(0, 0, 1, 1).data;
  return alpha === 255 ? [red, green, blue] : null;
}
