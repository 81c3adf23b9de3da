// What benches have measured: a chart and a table for each model, the same for every machine.

import { requestJson } from "./api.js";
import { startBench } from "./bench.js";
import { curves, LOOKS, mark } from "./curves.js";
import { byId, h, keyed, refill, say } from "./dom.js";
import { ago, bytes, duration, number } from "./format.js";
import { onCluster } from "./live.js";

const FIGURES = {
  total_rate: { name: "tokens/s, all together", say: number },
  rate: { name: "tokens/s of each stream", say: number },
  first_token: { name: "time to the first token", say: duration },
  slowest_first_token: { name: "longest time to the first token", say: duration },
  bytes: { name: "memory of the model", say: bytes },
};
const HEADS = ["Worker", "Streams", "Tokens/s", "Each", "First token", "Slowest", "Memory"];

/** Show the results in their view, and again whenever there are others. */
export function startSpeed() {
  let seen = null;
  let results = [];
  const draw = curves(byId("speed-chart"));
  const models = byId("speed-model");
  const figures = byId("speed-what");
  figures.append(...Object.entries(FIGURES).map(([value, { name }]) => h("option", { value }, name)));
  byId("speed-results").querySelector("thead").append(h("tr", {}, ...HEADS.map((name) => h("th", { scope: "col" }, name))));
  const showChosen = () => {
    const chosen = results.filter((measured) => measured.model === models.value).sort(byWorker);
    showChart(draw, chosen, figures.value);
    showTable(chosen);
  };
  let wanted = null;
  const bench = startBench((measured) => (wanted = measured.model));
  const show = (told) => {
    results = told.measured;
    bench.allowed(told);
    const names = [...new Set(results.map((measured) => measured.model))].sort();
    byId("speed-results").hidden = !names.length;
    byId("no-speeds").hidden = names.length > 0;
    const chosen = [wanted, models.value, results.at(-1)?.model].find((name) => names.includes(name));
    wanted = null;
    refill(models, names.map((name) => [name, name]), chosen);
    showChosen();
  };
  const ask = async () => {
    try {
      show(await requestJson("/api/benches"));
    } catch {
      seen = null; // asked again with the next news of the cluster
    }
  };
  const askIfNew = (cluster) => {
    if (!cluster || byId("speed").hidden || cluster.benches === seen) return;
    seen = cluster.benches;
    ask();
  };
  let latest = null;
  onCluster((cluster) => {
    latest = cluster;
    askIfNew(cluster);
  });
  byId("speed").addEventListener("shown", () => askIfNew(latest));
  window.addEventListener("keygiven", () => (seen = null));
  models.addEventListener("change", showChosen);
  figures.addEventListener("change", showChosen);
}

const byWorker = (a, b) => a.name.localeCompare(b.name) || a.worker.localeCompare(b.worker) || b.at - a.at;

/** How a worker held the model: what else tells its results from others. */
const held = (measured) => [measured.engine, measured.quantization === "none" ? "" : measured.quantization, measured.placement].filter(Boolean).join(", ");

function showChart(draw, chosen, figure) {
  const drawn = chosen
    .map((measured) => ({
      name: `${measured.name} (${held(measured)})`,
      points: measured.rounds.filter((round) => figure !== "bytes" || round.bytes).map((round) => [round.streams, round[figure]]),
    }))
    .filter((curve) => curve.points.length);
  draw(drawn, FIGURES[figure].say, FIGURES[figure].name);
  byId("speed-legend").replaceChildren(...drawn.map((curve, index) => h("li", { className: `look-${index % LOOKS}` }, mark(index), h("span", {}, curve.name))));
}

function showTable(chosen) {
  const prompts = [...new Set(chosen.flatMap((measured) => measured.rounds.map((round) => round.prompt_tokens)))].sort((a, b) => a - b);
  const answers = [...new Set(chosen.map((measured) => measured.tokens))].sort((a, b) => a - b);
  say(byId("speed-caption"), chosen.length ? `A prompt of ${prompts.join(" or ")} tokens, an answer of ${answers.join(" or ")}` : "");
  const rows = chosen.flatMap((measured) => measured.rounds.map((round, index) => ({ measured, round, first: index === 0 })));
  keyed(
    byId("speed-rows"),
    rows,
    ({ measured, round }) => JSON.stringify([measured.worker, measured.engine, measured.quantization, measured.placement, round.streams]),
    () => h("tr", {}, h("th", { className: "who" }), ...HEADS.slice(1).map((name) => h("td", { "data-head": name }))),
    (row, { measured, round, first }) => {
      row.classList.toggle("first", first);
      const [who, ...cells] = row.children;
      who.hidden = !first;
      who.rowSpan = measured.rounds.length;
      who.scope = "rowgroup";
      if (first) who.replaceChildren(...describe(measured));
      const told = [round.streams, number(round.total_rate), number(round.rate), duration(round.first_token), duration(round.slowest_first_token), round.bytes ? bytes(round.bytes) : "–"];
      cells.forEach((cell, index) => say(cell, told[index]));
    },
  );
  const notes = chosen.flatMap((measured) => measured.notes.map((note) => `${measured.name}: ${note}`));
  byId("speed-notes").replaceChildren(...notes.map((note) => h("li", {}, note)));
}

function describe(measured) {
  const when = h("small", { title: new Date(measured.at * 1000).toLocaleString() }, `${ago(Date.now() / 1000 - measured.at)}, ${measured.tokens} tokens`);
  when.title += measured.choice ? ` · ${measured.choice}` : "";
  return [h("b", {}, measured.name), h("small", {}, `${measured.device} (${measured.backend})`), h("small", {}, held(measured)), when];
}
