// The line at the bottom: where the pointer is, and what the layers hold there.

import { AXES } from "./planes.js";
import { element } from "./dom.js";
import { LAYER_TITLES, greyText } from "./controls.js";

export class Readout {
  constructor(list, position, facts) {
    this.position = position;
    this.facts = facts;
    this.cells = Object.fromEntries(facts.layers.map((layer) => {
      const cell = element("dd", { id: `read-${layer.name}` }, "–");
      list.append(element("div", {}, element("dt", {}, LAYER_TITLES[layer.kind]), cell));
      return [layer.name, cell];
    }));
  }

  show(panel, point, zoom) {
    const place = panel.volumeAt(point, zoom);
    const inside = place.every((value, axis) => Math.abs(value - this.facts.size_um[axis] / 2) <= (this.facts.size_um[axis] + this.facts.voxel_um[axis]) / 2);
    this.position.textContent = inside ? `${AXES.map((axis, index) => `${axis} ${place[index].toFixed(1)}`).join("  ")} µm` : "outside";
    for (const layer of this.facts.layers) this.write(layer, inside ? panel.valueAt(layer, point, zoom) : null);
  }

  clear() {
    this.position.textContent = "–";
    for (const cell of Object.values(this.cells)) cell.textContent = "–";
  }

  write(layer, rgb) {
    const cell = this.cells[layer.name];
    if (!rgb) {
      cell.textContent = "–";
      return;
    }
    if (layer.kind === "ct") cell.textContent = greyText(rgb[0], layer.window);
    else if (layer.kind === "uncertainty") cell.textContent = `${Math.round((rgb[0] / 255) * 100)} %`;
    else {
      const found = layer.kind === "labels" ? layer.labels.find(({ value }) => value === rgb[0]) : { rgb, name: rgb.join(", ") };
      const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
      swatch.style.background = `rgb(${(found?.rgb ?? [0, 0, 0]).join(" ")})`;
      cell.replaceChildren(swatch, found?.name ?? String(rgb[0]));
    }
  }
}
