// A line chart of measurements, one per second, the newest at the right.

import { number } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 100;

/** Return a function that draws a list of numbers into `container`. */
export function sparkline(container, span, label) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const [area, line] = ["area", "line"].map((name) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    svg.append(path);
    return path;
  });
  const top = document.createElement("span");
  top.className = "top";
  const start = document.createElement("span");
  start.className = "start";
  start.textContent = `${span / 60} min ago`;
  container.append(svg, top, start);

  return (values) => {
    const most = Math.max(1, ...values);
    const step = WIDTH / (span - 1);
    const left = WIDTH - (values.length - 1) * step;
    const points = values.map((value, index) => `${(left + index * step).toFixed(1)} ${(HEIGHT - (value / most) * (HEIGHT - 6) - 1).toFixed(1)}`);
    line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    area.setAttribute("d", points.length ? `M${left} ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z` : "");
    const peak = Math.max(0, ...values);
    top.textContent = peak ? `peak ${number(peak)}` : "";
    svg.setAttribute("aria-label", `${label}, last ${values.length} seconds: now ${number(values.at(-1) ?? 0)}, peak ${number(peak)}`);
  };
}
