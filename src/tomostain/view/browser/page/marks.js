// Lines, swipe line and scale bar that are drawn above the layers. Lengths are CSS pixels.

const HALO = "rgb(255 255 255 / 65%)";

/** Draw where another plane meets this one: a·row + b·column = c. */
export function drawLine(context, [a, b, c], toScreen, [height, width], colour, dashed) {
  const length = a * a + b * b;
  const foot = [(a * c) / length, (b * c) / length];
  const [x, y] = toScreen(foot);
  const [x1, y1] = toScreen([foot[0] - b, foot[1] + a]);
  const norm = Math.hypot(x1 - x, y1 - y);
  const far = 2 * (Math.hypot(width, height) + Math.hypot(x - width / 2, y - height / 2));
  const [dx, dy] = [((x1 - x) / norm) * far, ((y1 - y) / norm) * far];
  context.save();
  context.beginPath();
  context.moveTo(x - dx, y - dy);
  context.lineTo(x + dx, y + dy);
  context.strokeStyle = HALO;
  context.lineWidth = 2.5;
  context.stroke();
  context.setLineDash(dashed ? [7, 5] : []);
  context.strokeStyle = colour;
  context.lineWidth = 1.25;
  context.stroke();
  context.restore();
}

export function drawSwipe(context, x, height, colours) {
  context.save();
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, height);
  context.strokeStyle = "#000000";
  context.lineWidth = 4;
  context.stroke();
  context.strokeStyle = "#ffffff";
  context.lineWidth = 2;
  context.stroke();
  const y = height / 2;
  context.beginPath();
  context.arc(x, y, 13, 0, 2 * Math.PI);
  context.fillStyle = colours.accent;
  context.fill();
  context.stroke();
  context.beginPath();
  for (const side of [-1, 1]) {
    context.moveTo(x + 3 * side, y - 5);
    context.lineTo(x + 8 * side, y);
    context.lineTo(x + 3 * side, y + 5);
  }
  context.strokeStyle = colours.onAccent;
  context.stroke();
  context.restore();
}

/** Return a length of 1, 2 or 5 times a power of ten that is at most `most`, µm. */
export function roundLength(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].find((factor) => factor * power <= most * 1.000001) * power;
}

/** Return a length as text. */
export function lengthText(um) {
  return um >= 1000 ? `${Number((um / 1000).toFixed(6))} mm` : `${Number(um.toFixed(6))} µm`;
}

export function drawScaleBar(context, zoom, [height, width], colours) {
  const um = roundLength(Math.min(width / 4, 200) * zoom);
  const length = um / zoom;
  const text = lengthText(um);
  context.save();
  context.font = "600 13px system-ui, sans-serif";
  const wide = Math.max(length, context.measureText(text).width) + 16;
  const [left, top] = [10, height - 44];
  context.globalAlpha = 0.88;
  context.fillStyle = colours.page;
  context.beginPath();
  context.roundRect(left, top, wide, 34, 5);
  context.fill();
  context.globalAlpha = 1;
  context.fillStyle = colours.ink;
  context.textBaseline = "top";
  context.fillText(text, left + 8, top + 5);
  context.fillRect(left + 8, top + 24, length, 4);
  context.restore();
}
