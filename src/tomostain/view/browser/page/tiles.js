// Tiles from the server: a queue without stale requests, and a bounded store of pictures.

const AT_ONCE = 6;
const MAX_TILES = 600;
const RETRY_MS = 5000;
const BORDER = 1e-6; // share of a tile: a volume that ends at the border of a tile needs no tile beyond it

export class TileStore extends EventTarget {
  constructor(base, facts) {
    super();
    this.base = base;
    this.facts = facts;
    this.tiles = new Map(); // by key, oldest first: {state, bitmap}
    this.wanted = new Map(); // by panel, the keys in the order of their need
    this.needed = new Set(); // those of all panels
    this.loading = new Map(); // by key, the controllers of the requests
    this.requests = 0;
    this.retryMs = RETRY_MS;
  }

  /** Return the tile if it was requested before; it counts as used. */
  get(key) {
    const tile = this.tiles.get(key);
    if (tile) {
      this.tiles.delete(key);
      this.tiles.set(key, tile);
    }
    return tile;
  }

  /** State what a panel needs now. Requests that no panel needs any more are cancelled. */
  want(panel, keys) {
    this.wanted.set(panel, keys);
    this.needed = new Set([...this.wanted.values()].flat());
    for (const [key, controller] of this.loading) if (!this.needed.has(key)) controller.abort();
    this.pump();
  }

  get isIdle() {
    return this.loading.size === 0;
  }

  pump() {
    const lists = [...this.wanted.values()];
    const longest = Math.max(0, ...lists.map((keys) => keys.length));
    for (let rank = 0; rank < longest; rank += 1) {
      for (const keys of lists) {
        if (this.loading.size >= AT_ONCE) return;
        const key = keys[rank];
        if (key !== undefined && !this.tiles.has(key) && !this.loading.has(key)) this.load(key);
      }
    }
  }

  async load(key) {
    const controller = new AbortController();
    this.loading.set(key, controller);
    this.requests += 1;
    let tile;
    try {
      const answer = await fetch(this.base + key, { signal: controller.signal, cache: "no-store" });
      if (answer.status === 200) {
        tile = { state: "ready", bitmap: await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none" }) };
      } else {
        tile = { state: answer.status === 204 ? "empty" : "failed" };
      }
    } catch {
      tile = controller.signal.aborted ? null : { state: "failed" };
    }
    this.loading.delete(key);
    if (tile) this.keep(key, tile);
    this.pump();
  }

  keep(key, tile) {
    this.tiles.set(key, tile);
    for (const [oldest, old] of this.tiles) {
      if (this.tiles.size <= MAX_TILES) break;
      if (this.needed.has(oldest)) continue; // a large screen may need more than the limit
      old.bitmap?.close();
      this.tiles.delete(oldest);
    }
    if (tile.state === "failed") {
      this.dispatchEvent(new Event("failed"));
      setTimeout(() => this.retry(key, tile), this.retryMs);
    }
    this.dispatchEvent(new Event("loaded"));
  }

  /** Forget a tile that failed, so that it is requested again if it is still needed. */
  retry(key, tile) {
    if (this.tiles.get(key) !== tile) return;
    this.tiles.delete(key);
    if (this.needed.has(key)) this.dispatchEvent(new Event("loaded"));
  }
}

/** Return the address of a tile, which is also its key. */
export function tileKey(layer, plane, level, row, column) {
  return `${layer}?${plane.query}&level=${level}&row=${row}&column=${column}`;
}

/** Return the level whose pixels fit the screen. */
export function levelFor(umPerPixel, facts) {
  const level = Math.floor(Math.log2(umPerPixel / facts.base_um) + 0.4);
  return Math.min(Math.max(level, 0), facts.levels - 1);
}

/** Return the side of a tile, and where tile 0 begins, µm. */
export function tileGrid(level, facts) {
  return { side: facts.tile_px * 2 ** level * facts.base_um, start: -facts.base_um / 2 };
}

/** Return [row, column] of the tiles that show a window of the plane, the nearest to its middle first. */
export function tilesIn(level, facts, { top, bottom, left, right }) {
  const { side, start } = tileGrid(level, facts);
  const tile = (value, border) => Math.floor((value - start) / side + border);
  const [r0, r1, c0, c1] = [tile(top, BORDER), tile(bottom, -BORDER), tile(left, BORDER), tile(right, -BORDER)];
  const found = [];
  for (let row = r0; row <= r1; row += 1) for (let column = c0; column <= c1; column += 1) found.push([row, column]);
  const far = ([row, column]) => Math.hypot(row - (r0 + r1) / 2, column - (c0 + c1) / 2);
  return found.sort((a, b) => far(a) - far(b));
}
