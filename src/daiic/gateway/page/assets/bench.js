// Measuring from the page: the form, how far it is, and how it ended.

import { events } from "./api.js";
import { byId, fill, h, refill, say } from "./dom.js";
import { modelsThat, onCluster } from "./live.js";

const ALL = "";

/** Start the form; `measured` is called with each result. Returns what follows what the gateway allows. */
export function startBench(measured) {
  const form = byId("bench-form");
  const button = byId("bench-start");
  const fields = form.elements;
  let running = null;
  let limits = null;
  let offered = "";
  let able = false;

  const enable = () => (button.disabled = !running && !(able && limits));
  const offer = (cluster) => {
    if (!cluster) return;
    const models = modelsThat("complete", cluster).map((model) => model.name);
    const workers = cluster.workers.filter((worker) => worker.state === "ready").map((worker) => [worker.id, worker.name]);
    able = models.length > 0;
    enable();
    const now = JSON.stringify([models, workers]);
    if (now === offered) return;
    offered = now;
    refill(fields.model, models.length ? models.map((name) => [name, name]) : [["", "no model"]]);
    refill(fields.worker, [[ALL, "all that have it"], ...workers]);
  };

  onCluster(offer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) {
      running.abort();
      return;
    }
    running = new AbortController();
    show(true);
    const body = {
      model: fields.model.value,
      workers: fields.worker.value === ALL ? [] : [fields.worker.value],
      streams: Number(fields.streams.value),
      tokens: Number(fields.tokens.value),
    };
    try {
      await follow(body, running.signal, measured);
    } catch (error) {
      if (error.name !== "AbortError") problem(error.message);
    }
    running = null;
    show(false);
  });

  function show(busy) {
    button.textContent = busy ? "Stop" : "Measure";
    button.classList.toggle("stop", busy);
    byId("bench-making").hidden = !busy;
    if (busy) {
      byId("bench-problem").hidden = true;
      say(byId("bench-text"), "starting");
      fill(byId("bench-meter"), 0);
    }
    for (const field of form.querySelectorAll("select, input")) field.disabled = busy;
  }

  return {
    allowed: (told) => {
      form.hidden = !told.may_start;
      byId("bench-refused").hidden = told.may_start;
      if (limits === told.most_streams) return;
      limits = told.most_streams;
      fields.tokens.max = told.most_tokens;
      const numbers = [];
      for (let streams = 1; streams <= limits; streams *= 2) numbers.push([String(streams), String(streams)]);
      refill(fields.streams, numbers, "8");
      enable();
    },
  };
}

function problem(text) {
  const box = byId("bench-problem");
  box.hidden = false;
  box.append(h("p", {}, text));
}

async function follow(body, signal, measured) {
  byId("bench-problem").replaceChildren();
  const rounds = Math.ceil(Math.log2(body.streams)) + 1;
  let done = 0;
  for await (const event of events("/api/benches", { body, signal })) {
    if (event.event === "measured") measured(event);
    else if (event.event === "failed") problem(`${event.name}: ${[event.message, event.remedy].filter(Boolean).join(": ")}`);
    else {
      done = event.streams ? done + 1 : 0;
      const share = event.share ? `, ${Math.round(event.share * 100)} %` : "";
      say(byId("bench-text"), `${event.name}: ${event.streams ? `${event.streams} at once` : event.phase}${share}`);
      fill(byId("bench-meter"), event.streams ? done / (rounds + 1) : 0);
    }
  }
}
