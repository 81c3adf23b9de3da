// A chart of curves over numbers of streams, drawn in real pixels, so that it is drawn again when its box changes.

import { h, svg } from "./dom.js";

const HEIGHT = 260;
const LEFT = 58;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 30;
/** Marks differ in form as well as in colour. */
const MARKS = ["M-4-4h8v8h-8z", "M0-5.5 5 4.5H-5z", "M-4.5 0a4.5 4.5 0 1 0 9 0 4.5 4.5 0 1 0-9 0z", "M0-6 6 0 0 6-6 0z", "M-5-4.5H5L0 5.5z", "M-1.6-5h3.2v3.4H5v3.2H1.6V5h-3.2V1.6H-5v-3.2h3.4z"];

/** How many curves look different from each other. */
export const LOOKS = MARKS.length;

/** Return the mark of the curve with this number, as a small picture for a legend. */
export function mark(number) {
  const shape = svg("path", { d: MARKS[number % LOOKS], class: "mark" });
  return svg("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true", class: `look-${number % LOOKS}` }, shape);
}

/** Round up to a number that divides well: 1, 2, 2.5 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * (1 - 1e-9));
}

/**
 * Return a function that draws curves into `figure`: a list of {name, points: [[streams, value], …]},
 * `say` turns a value into text, `label` tells what is shown.
 */
export function curves(figure) {
  let last = null;
  const redraw = () => last && figure.clientWidth && draw(figure, ...last);
  new ResizeObserver(redraw).observe(figure);
  return (...what) => {
    last = what;
    redraw();
  };
}

function draw(figure, drawn, say, label) {
  const width = figure.clientWidth;
  const values = drawn.flatMap((curve) => curve.points.map(([, value]) => value));
  const numbers = [...new Set(drawn.flatMap((curve) => curve.points.map(([streams]) => streams)))].sort((a, b) => a - b);
  const step = roundUp(Math.max(1e-9, ...values) / 4);
  const most = Math.ceil(Math.max(1e-9, ...values) / step - 1e-9) * step;
  const spread = Math.log2(numbers.at(-1) ?? 1) || 1;
  const x = (streams) => LEFT + (numbers.length > 1 ? Math.log2(streams) / spread : 0.5) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
  const parts = [];
  for (let value = 0; value <= most * (1 + 1e-9); value += step) {
    parts.push(svg("path", { d: `M${LEFT} ${y(value)}H${width - RIGHT}`, class: "grid" }));
    parts.push(svg("text", { x: LEFT - 8, y: y(value) + 4, class: "side" }, say(value)));
  }
  let free = -Infinity;
  for (const streams of numbers) {
    if (x(streams) < free) continue;
    parts.push(svg("text", { x: x(streams), y: HEIGHT - 8, class: "below" }, String(streams)));
    free = x(streams) + 26;
  }
  drawn.forEach((curve, number) => {
    const line = curve.points.map(([streams, value]) => `${x(streams).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
    const marks = curve.points.map(([streams, value]) =>
      svg("path", { d: MARKS[number % LOOKS], class: "mark", transform: `translate(${x(streams).toFixed(1)} ${y(value).toFixed(1)})` }, svg("title", {}, `${curve.name}, ${streams} at once: ${say(value)}`)),
    );
    parts.push(svg("g", { class: `look-${number % LOOKS}` }, svg("path", { d: `M${line}`, class: "line" }), ...marks));
  });
  const told = drawn.map((curve) => `${curve.name}: ${curve.points.map(([streams, value]) => `${say(value)} at ${streams}`).join(", ")}`);
  const picture = svg("svg", { width, height: HEIGHT, role: "img", "aria-label": `${label} by streams at once. ${told.join(". ")}` }, ...parts);
  figure.replaceChildren(picture, h("figcaption", {}, "streams at once"));
}
