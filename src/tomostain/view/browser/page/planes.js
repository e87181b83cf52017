// Planes in the volume. Points are [z, y, x] in µm from the centre of the first voxel; plane coordinates are [row, column].
// The same formulas are in tomostain.view.browser.planes and tomostain.geometry.oblique; a test compares them.

export const PLANES = ["z", "y", "x", "oblique"];
export const TITLES = { z: "xy", y: "xz", x: "yz", oblique: "Oblique" };
export const AXES = ["z", "y", "x"];

const STANDARD = {
  z: { down: [0, 1, 0], right: [0, 0, 1], normal: [1, 0, 0] },
  y: { down: [1, 0, 0], right: [0, 0, 1], normal: [0, 1, 0] },
  x: { down: [1, 0, 0], right: [0, 1, 0], normal: [0, 0, 1] },
};

export function dot(a, b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

export function add(point, vector, length = 1) {
  return point.map((value, index) => value + length * vector[index]);
}

export function obliqueAxes(tiltX, tiltY) {
  const a = (tiltX * Math.PI) / 180;
  const b = (tiltY * Math.PI) / 180;
  return {
    down: [Math.sin(a) * Math.cos(b), Math.cos(a), -Math.sin(a) * Math.sin(b)],
    right: [Math.sin(b), 0, Math.cos(b)],
    normal: [Math.cos(a) * Math.cos(b), -Math.sin(a), -Math.cos(a) * Math.sin(b)],
  };
}

/** Return the plane of a panel: its axes, its origin and the part of a query that names it. */
export function planeOf(id, view, facts) {
  if (id === "oblique") {
    const axes = obliqueAxes(view.tilt[0], view.tilt[1]);
    const origin = add(middle(facts), axes.normal, view.offset);
    const query = `axis=oblique&at=${number(view.offset)}&tilt_x=${number(view.tilt[0])}&tilt_y=${number(view.tilt[1])}`;
    return { id, ...axes, origin, query };
  }
  const at = view.position[AXES.indexOf(id)];
  const axes = STANDARD[id];
  return { id, ...axes, origin: axes.normal.map((value) => value * at), query: `axis=${id}&at=${number(at)}` };
}

export function toVolume(plane, [row, column]) {
  return add(add(plane.origin, plane.down, row), plane.right, column);
}

export function toPlane(plane, point) {
  const from = add(point, plane.origin, -1);
  return [dot(from, plane.down), dot(from, plane.right)];
}

export function middle(facts) {
  return facts.size_um.map((side) => side / 2);
}

/** Return the outer corners of the volume: half a voxel beyond the centres of the outermost ones. */
export function cornersOf({ size_um, voxel_um }) {
  const [z, y, x] = size_um.map((side, axis) => [-voxel_um[axis] / 2, side + voxel_um[axis] / 2]);
  return z.flatMap((a) => y.flatMap((b) => x.map((c) => [a, b, c])));
}

/** Return the centre of the voxel that is nearest to a point. */
export function snapped(position, facts) {
  return position.map((value, axis) => {
    const nearest = clamp(Math.round(value / facts.voxel_um[axis]), 0, Math.round(facts.size_um[axis] / facts.voxel_um[axis]));
    return nearest * facts.voxel_um[axis];
  });
}

/** Return the step of the wheel and the keys: a voxel across the plane. */
export function stepOf(id, facts) {
  return id === "oblique" ? facts.base_um : facts.voxel_um[AXES.indexOf(id)];
}

/** Return the largest offset of an oblique plane that still meets the volume. */
export function reach(view, facts) {
  const { normal } = obliqueAxes(view.tilt[0], view.tilt[1]);
  return facts.size_um.reduce((sum, side, index) => sum + Math.abs(normal[index]) * side, 0) / 2;
}

/** Return the height and the width of the volume on a plane, µm. */
export function extent(plane, facts) {
  const sides = facts.size_um.map((side, index) => side + facts.voxel_um[index]);
  return [plane.down, plane.right].map((axis) => sides.reduce((sum, side, i) => sum + Math.abs(axis[i]) * side, 0));
}

/** Return the line in which two planes meet, as [a, b, c] with a·row + b·column = c on the first; null if parallel. */
export function crossing(plane, other) {
  const a = dot(other.normal, plane.down);
  const b = dot(other.normal, plane.right);
  if (Math.hypot(a, b) < 1e-6) return null;
  return [a, b, dot(other.normal, add(other.origin, plane.origin, -1))];
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function number(value) {
  return String(Number(value.toFixed(6)));
}
