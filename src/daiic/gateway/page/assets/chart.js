// A line chart of measurements, one per second, the newest at the right.

import { svg } from "./dom.js";
import { number } from "./format.js";

const WIDTH = 600;
const HEIGHT = 100;

/** Return a function that draws a list of numbers into `container`. */
export function sparkline(container, span, label) {
  const [area, line] = ["area", "line"].map((name) => svg("path", { class: name }));
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, area, line);
  const top = document.createElement("span");
  top.className = "top";
  const start = document.createElement("span");
  start.className = "start";
  start.textContent = `${span / 60} min ago`;
  container.append(chart, top, start);

  return (values) => {
    const most = Math.max(1, ...values);
    const step = WIDTH / (span - 1);
    const left = WIDTH - (values.length - 1) * step;
    const points = values.map((value, index) => `${(left + index * step).toFixed(1)} ${(HEIGHT - (value / most) * (HEIGHT - 6) - 1).toFixed(1)}`);
    line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    area.setAttribute("d", points.length ? `M${left} ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z` : "");
    const peak = Math.max(0, ...values);
    top.textContent = peak ? `peak ${number(peak)}` : "";
    chart.setAttribute("aria-label", `${label}, last ${values.length} seconds: now ${number(values.at(-1) ?? 0)}, peak ${number(peak)}`);
  };
}
