// One panel: its canvas, the transform between plane and screen, and the drawing of layers, lines and scale bar.

import { AXES, PLANES, TITLES, cornersOf, crossing, extent, planeOf, toPlane, toVolume } from "./planes.js";
import { levelFor, tileGrid, tileKey, tilesIn } from "./tiles.js";
import { drawLine, drawScaleBar, drawSwipe } from "./marks.js";
import { paint, pixelOf } from "./paint.js";

const CRISP_PX = 4; // from this size on, the voxels are shown as squares

function resize(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}

export class Panel {
  constructor(id, canvas, store, tiles) {
    Object.assign(this, { id, canvas, store, tiles });
    this.shown = {}; // by layer, the last frame that was complete: {plane, level, keys}
    this.drawn = {}; // by layer, a canvas and what is drawn on it
    this.isComplete = false;
  }

  get plane() {
    return planeOf(this.id, this.store.view, this.store.facts);
  }

  get isVisible() {
    return this.store.view.layout === "all" || this.store.view.layout === this.id;
  }

  /** Return the height and width, CSS pixels. */
  get size() {
    return [this.canvas.clientHeight, this.canvas.clientWidth];
  }

  /** Return µm per CSS pixel at which the whole volume fits. */
  get fitting() {
    const [height, width] = extent(this.plane, this.store.facts);
    const [rows, columns] = this.size;
    return Math.max(height / Math.max(rows - 24, 50), width / Math.max(columns - 24, 50));
  }

  toScreen([row, column], zoom) {
    const [height, width] = this.size;
    const [middleRow, middleColumn] = toPlane(this.plane, this.store.view.centre);
    return [width / 2 + (column - middleColumn) / zoom, height / 2 + (row - middleRow) / zoom];
  }

  fromScreen([x, y], zoom) {
    const [height, width] = this.size;
    const [row, column] = toPlane(this.plane, this.store.view.centre);
    return [row + (y - height / 2) * zoom, column + (x - width / 2) * zoom];
  }

  volumeAt(point, zoom) {
    return toVolume(this.plane, this.fromScreen(point, zoom));
  }

  draw(zoom, colours) {
    if (!this.isVisible) {
      this.tiles.want(this.id, []);
      return;
    }
    const ratio = window.devicePixelRatio || 1;
    const [height, width] = this.size.map((side) => Math.max(1, Math.round(side * ratio)));
    resize(this.canvas, width, height);
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    const { view, facts } = this.store;
    const wanted = [];
    this.isComplete = true;
    for (const layer of facts.layers) {
      const shown = view.layers[layer.name];
      if (!shown.on || shown.opacity === 0) continue;
      const { canvas, keys } = this.drawLayer(layer, zoom, ratio);
      wanted.push(keys);
      context.save();
      const [left, right] = this.sides(layer, width);
      context.beginPath();
      context.rect(left, 0, right - left, height);
      context.clip();
      context.globalAlpha = shown.opacity;
      context.drawImage(canvas, 0, 0);
      context.restore();
    }
    if (this.isComplete) wanted.push(this.keysAhead(zoom, ratio));
    this.tiles.want(this.id, wanted.flat());
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.drawMarks(context, zoom, colours);
  }

  /** Return the part of the panel, in pixels from the left, that a layer covers. An opaque stain hides the µCT. */
  sides(layer, width) {
    const { view } = this.store;
    const line = view.swiping ? Math.round(view.swipe * width) : 0;
    if (layer.kind === "stain") return [line, width];
    const hidden = layer.kind === "ct" && view.layers.stain?.on && view.layers.stain.opacity === 1;
    return [0, hidden ? line : width];
  }

  drawLayer(layer, zoom, ratio) {
    const { view } = this.store;
    const level = this.level(zoom, ratio);
    const frame = this.frame(layer, this.plane, level, zoom);
    const keys = frame.keys.map(({ key }) => key);
    const loaded = keys.filter((key) => this.tiles.get(key)).length;
    const complete = loaded === keys.length;
    if (!complete) this.isComplete = false;
    const drawn = (this.drawn[layer.name] ??= { canvas: document.createElement("canvas"), signature: "" });
    const { width, height } = this.canvas;
    // The swipe line, opacities and lines change nothing here.
    const signature = [frame.plane.query, level, zoom, view.centre, width, height, view.window, loaded, keys.length].join();
    if (signature !== drawn.signature) {
      drawn.signature = signature;
      resize(drawn.canvas, width, height);
      const context = drawn.canvas.getContext("2d");
      context.clearRect(0, 0, width, height);
      const before = this.shown[layer.name];
      if (!complete && before) this.drawTiles(context, before, layer, zoom, ratio);
      this.drawTiles(context, frame, layer, zoom, ratio);
    }
    if (complete) this.shown[layer.name] = frame;
    return { canvas: drawn.canvas, keys };
  }

  /** Return the tiles of the next slice in the direction in which this panel was moved last. */
  keysAhead(zoom, ratio) {
    const { view, facts, direction } = this.store;
    if (direction?.id !== this.id || this.id === "oblique") return [];
    const axis = AXES.indexOf(this.id);
    const at = view.position[axis] + direction.sign * facts.voxel_um[axis];
    if (at < 0 || at > facts.size_um[axis]) return [];
    const plane = planeOf(this.id, { ...view, position: view.position.with(axis, at) }, facts);
    const layers = facts.layers.filter(({ name }) => view.layers[name].on && view.layers[name].opacity > 0);
    return layers.flatMap((layer) => this.frame(layer, plane, this.level(zoom, ratio), zoom).keys.map(({ key }) => key));
  }

  level(zoom, ratio) {
    const coarser = this.id === "oblique" && this.store.isMoving ? 1 : 0;
    return Math.min(levelFor(zoom / ratio, this.store.facts) + coarser, this.store.facts.levels - 1);
  }

  /** Return the tiles of a layer that the panel shows, as far as they meet the volume. */
  frame(layer, plane, level, zoom) {
    const { facts } = this.store;
    const [height, width] = this.size;
    const [top, left] = this.fromScreen([0, 0], zoom);
    const [bottom, right] = this.fromScreen([width, height], zoom);
    const corners = cornersOf(facts);
    const places = corners.map((corner) => toPlane(plane, corner));
    const rows = places.map((place) => place[0]);
    const columns = places.map((place) => place[1]);
    const area = {
      top: Math.max(top, Math.min(...rows)),
      bottom: Math.min(bottom, Math.max(...rows)),
      left: Math.max(left, Math.min(...columns)),
      right: Math.min(right, Math.max(...columns)),
    };
    const found = area.top <= area.bottom && area.left <= area.right ? tilesIn(level, facts, area) : [];
    return { plane, level, keys: found.map(([row, column]) => ({ row, column, key: tileKey(layer.name, plane, level, row, column) })) };
  }

  drawTiles(context, frame, layer, zoom, ratio) {
    const { facts, view } = this.store;
    const { side, start } = tileGrid(frame.level, facts);
    // Between two tissue classes, a mixture of their colours would look like a third one.
    context.imageSmoothingEnabled = layer.kind !== "labels" && (facts.base_um * 2 ** frame.level * ratio) / zoom < CRISP_PX;
    context.imageSmoothingQuality = "medium";
    for (const { row, column, key } of frame.keys) {
      const tile = this.tiles.get(key);
      if (!tile) continue;
      const [x0, y0] = this.toScreen([start + row * side, start + column * side], zoom).map((v) => Math.round(v * ratio));
      const [x1, y1] = this.toScreen([start + (row + 1) * side, start + (column + 1) * side], zoom).map((v) => Math.round(v * ratio));
      context.clearRect(x0, y0, x1 - x0, y1 - y0);
      if (tile.state === "ready") context.drawImage(paint(tile.bitmap, layer, view), x0, y0, x1 - x0, y1 - y0);
    }
  }

  drawMarks(context, zoom, colours) {
    const { view, facts } = this.store;
    const [height, width] = this.size;
    if (view.lines) {
      for (const id of PLANES) {
        if (id === this.id || (id === "oblique" && view.layout !== "all")) continue;
        const line = crossing(this.plane, planeOf(id, view, facts));
        if (line) drawLine(context, line, (place) => this.toScreen(place, zoom), [height, width], colours[id], id === "oblique");
      }
    }
    if (view.swiping && view.layers.stain.on) drawSwipe(context, view.swipe * width, height, colours);
    drawScaleBar(context, zoom, [height, width], colours);
  }

  /** Return the colour of a layer at a point of the screen, from the last complete frame; null if there is none. */
  valueAt(layer, point, zoom) {
    const frame = this.shown[layer.name];
    if (!frame || frame.plane.query !== this.plane.query) return null;
    const { facts } = this.store;
    const { side, start } = tileGrid(frame.level, facts);
    const places = this.fromScreen(point, zoom).map((value) => (value - start) / side);
    const [row, column] = places.map(Math.floor);
    const tile = this.tiles.get(tileKey(layer.name, frame.plane, frame.level, row, column));
    if (tile?.state !== "ready") return null;
    const [y, x] = [places[0] - row, places[1] - column].map((share) => Math.min(Math.floor(share * facts.tile_px), facts.tile_px - 1));
    return pixelOf(tile.bitmap, y, x);
  }

  describe() {
    const { view, facts } = this.store;
    if (this.id === "oblique") return `${TITLES.oblique} plane, offset ${view.offset.toFixed(0)} µm`;
    const axis = AXES.indexOf(this.id);
    const count = Math.round(facts.size_um[axis] / facts.voxel_um[axis]) + 1;
    return `${TITLES[this.id]} plane, slice ${Math.round(view.position[axis] / facts.voxel_um[axis]) + 1} of ${count}`;
  }
}
