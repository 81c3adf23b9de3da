// The live cluster: rate, workers, models, and recent requests.

import { sparkline } from "./chart.js";
import { byId, fill, h, keyed, meter, notice, say, snippet } from "./dom.js";
import { ago, bytes, duration, number } from "./format.js";
import { onCluster } from "./live.js";

const HISTORY = 120;
const VENDORS = { cuda: "NVIDIA", rocm: "AMD", vulkan: "Vulkan", cpu: "CPU" };

/** Show the cluster in its view, now and whenever it changes. */
export function startClusterView() {
  const draw = sparkline(byId("rate-chart"), HISTORY, "Tokens per second");
  byId("no-workers").append(
    h("p", { className: "lead" }, "No worker has registered yet."),
    h("p", {}, "On NixOS, one line of configuration turns a machine into a worker:"),
    snippet("services.daiic.worker.enable = true;"),
    h("p", {}, "On other systems, start one and give it the address of this cluster’s head:"),
    snippet(`daiic-worker --heads ${location.hostname === "localhost" ? "127.0.0.1" : location.hostname}:7717`),
    h("p", { className: "soft" }, "It appears here within two seconds."),
  );
  onCluster((cluster) => {
    byId("cluster").classList.toggle("stale", !cluster);
    notice(byId("problem"), cluster ? (cluster.problem ?? "") : "The gateway does not answer. Trying again.");
    if (cluster) show(cluster, draw);
  });
}

function show(cluster, draw) {
  say(byId("rate"), number(cluster.tokens_per_second.at(-1) ?? 0));
  draw(cluster.tokens_per_second);
  showFacts(cluster);
  keyed(byId("workers"), cluster.workers, (worker) => worker.id, createWorker, updateWorker);
  byId("no-workers").hidden = cluster.workers.length > 0 || Boolean(cluster.problem);
  showHeads(cluster.heads);
  showTasks(cluster);
}

function showHeads(heads) {
  byId("other-heads").hidden = !heads.length;
  keyed(
    byId("heads"),
    heads,
    (head) => head.id,
    () => h("li", {}, h("b"), h("span", { className: "role" }), h("span", { className: "detail" })),
    (item, head) => {
      item.title = `${head.id} · ${head.version}`;
      say(item.querySelector("b"), head.address || "The head that tells this");
      say(item.querySelector(".role"), [head.master ? "master" : "", head.state === "ready" ? "" : head.state].filter(Boolean).join(", "));
      const way = head.address ? ` · ${head.rtt_ms.toFixed(1)} ms round trip` : "";
      say(item.querySelector(".detail"), `${number(head.in_flight)} running · ${number(head.queued)} queued · workers: ${number(head.workers)}${way}`);
    },
  );
}

function showFacts(cluster) {
  const failed = cluster.tasks_failed ? `${number(cluster.tasks_failed)} failed` : "none failed";
  const facts = [
    ["Running", number(cluster.in_flight), `in ${number(cluster.workers.reduce((sum, worker) => sum + worker.slots, 0))} slots`],
    ["Queued", number(cluster.queued), `of ${number(cluster.queue_size)} at most`],
    ["Done", number(cluster.tasks_done), failed],
    ["Moved", number(cluster.tasks_moved), "after a worker was lost"],
    ...(cluster.tasks_hedged ? [["Hedged", number(cluster.tasks_hedged), "as a worker was late"]] : []),
    ["Head uptime", duration(cluster.uptime_s), `version ${cluster.version}`],
  ];
  keyed(
    byId("facts"),
    facts,
    ([name]) => name,
    ([name]) => h("div", {}, h("dt", {}, name), h("dd", {}, h("b"), h("small"))),
    (element, [, value, note]) => {
      say(element.querySelector("b"), value);
      say(element.querySelector("small"), note);
    },
  );
}

function createWorker(worker) {
  const bar = (name) => h("div", { className: `gauge ${name.toLowerCase()}` }, h("span", { className: "what" }, name), meter(`${name} of ${worker.name}`), h("span", { className: "much" }));
  return h(
    "article",
    { className: "worker", "aria-label": `Worker ${worker.name}` },
    h("header", {}, h("h3"), h("span", { className: "badge" }), h("p", { className: "device" })),
    h("div", { className: "gauges" }, bar("VRAM"), bar("RAM"), bar("Load")),
    h("ul", { className: "cards", "aria-label": `Graphics cards of ${worker.name}` }),
    h("ul", { className: "models" }),
    h("p", { className: "set-aside" }),
    h("p", { className: "foot" }),
  );
}

function updateWorker(card, worker) {
  const find = (selector) => card.querySelector(selector);
  card.dataset.vendor = worker.backend;
  card.dataset.state = worker.state;
  say(find("h3"), worker.name);
  const vendor = VENDORS[worker.backend] ?? worker.backend;
  say(find(".badge"), worker.state === "ready" ? vendor : `${vendor}, ${worker.state}`);
  say(find(".device"), `${worker.device} · ${worker.backend}`);
  memory(find(".vram"), worker.vram_total, worker.vram_free);
  memory(find(".ram"), worker.ram_total, worker.ram_free);
  const load = find(".load");
  fill(load.querySelector(".meter"), worker.slots ? worker.running / worker.slots : 0);
  const waiting = worker.waiting ? `, ${worker.waiting} waiting` : "";
  say(load.querySelector(".much"), `${worker.running} of ${worker.slots}${waiting}`);
  const cards = worker.cards.map((card, index) => ({ ...card, index }));
  keyed(find(".cards"), cards, (card) => String(card.index), createCard, updateCard);
  keyed(find(".models"), worker.models, (model) => model.name, createModel, updateModel);
  const late = worker.age_ms > 5000 ? `silent for ${duration(worker.age_ms / 1000)}` : `${number(worker.tokens_per_second)} tokens/s`;
  const trip = worker.rtt_ms ? ` · ${worker.rtt_ms < 10 ? worker.rtt_ms.toFixed(1) : Math.round(worker.rtt_ms)} ms round trip` : "";
  const lends = worker.lends ? ` · lends ${bytes(worker.lends)}` : "";
  say(find(".foot"), `${late} · ${number(worker.tasks_done)} done${trip}${standing(worker)}${lends}`);
  const wait = worker.retry_ms ? `for ${duration(worker.retry_ms / 1000)}` : "until tried";
  find(".set-aside").hidden = !worker.set_aside;
  say(find(".set-aside"), worker.set_aside ? `Set aside ${wait}: ${worker.set_aside}` : "");
  find(".foot").title = `${worker.address} · ${worker.version} · ${worker.id}`;
}

/** How near a worker is, its role in the mesh, and what is wrong with the way there. */
function standing(worker) {
  const parts = [
    worker.group === null || worker.group < 0 ? "" : `group ${worker.group}`,
    worker.role,
    worker.health === "healthy" ? "" : worker.health,
  ];
  const said = parts.filter(Boolean).join(", ");
  return said ? ` · ${said}` : "";
}

function memory(gauge, total, free) {
  gauge.hidden = !total;
  if (!total) return;
  fill(gauge.querySelector(".meter"), (total - free) / total);
  say(gauge.querySelector(".much"), `${bytes(total - free)} of ${bytes(total)}`);
}

function createCard() {
  return h("li", {}, h("span", { className: "name" }), h("span", { className: "detail" }));
}

function updateCard(item, card) {
  const watts = card.power_limit === null ? "" : ` of ${Math.round(card.power_limit)}`;
  const parts = [
    card.vram_total ? `${bytes(card.vram_total - card.vram_free)} of ${bytes(card.vram_total)}` : "",
    card.load === null ? "" : `${Math.round(card.load * 100)} % busy`,
    card.temperature === null ? "" : `${Math.round(card.temperature)} °C`,
    card.power === null ? "" : `${Math.round(card.power)}${watts} W`,
  ];
  say(item.querySelector(".name"), card.name);
  say(item.querySelector(".detail"), parts.filter(Boolean).join(" · "));
}

function createModel() {
  return h("li", {}, h("span", { className: "name" }), h("span", { className: "state" }), h("span", { className: "detail" }), meter("Progress"));
}

const QUANTIZATION = { none: "", "": "", "8bit": "8-bit", "4bit": "4-bit" };
const PLACEMENT = { gpu: "on GPU", "gpu+ram": "on GPU and RAM", ram: "in RAM", "": "" };

function updateModel(item, model) {
  item.dataset.state = model.state;
  say(item.querySelector(".name"), model.name);
  item.title = `${model.name} (${model.kind})`;
  const busy = model.state === "loading" || model.state === "downloading";
  const state = busy ? `${model.state} ${Math.round(model.progress * 100)} %` : model.state === "available" ? "on disk" : model.state;
  say(item.querySelector(".state"), state);
  const parts = [
    model.capabilities.join(", "),
    model.state === "loaded" && model.bytes ? bytes(model.bytes) : "",
    model.state === "loaded" ? (QUANTIZATION[model.quantization] ?? model.quantization) : "",
    model.state === "loaded" ? (PLACEMENT[model.placement] ?? model.placement) : "",
    model.rate ? `${number(model.rate)} ${model.unit}/s per request` : "",
    model.state === "loaded" ? [model.engine, model.choice].filter(Boolean).join(": ") : "",
    ...model.shards.map(part),
    model.detail,
  ];
  say(item.querySelector(".detail"), parts.filter(Boolean).join(" · "));
  const bar = item.querySelector(".meter");
  bar.hidden = !busy;
  fill(bar, model.progress);
}

function part(shard) {
  const slice = shard.slices ? `1/${shard.slices} of ` : "";
  const layers = shard.layers ? `${slice}layers ${shard.first_layer} to ${shard.first_layer + shard.layers - 1}, ` : "";
  return `${shard.name || shard.worker}: ${layers}${bytes(shard.bytes)}`;
}

function showTasks(cluster) {
  const box = byId("tasks");
  if (!cluster.tasks.length) {
    if (!box.querySelector(".empty")) {
      box.replaceChildren(h("div", { className: "empty slim" }, h("p", {}, "No requests yet. Try the ", h("a", { href: "#chat" }, "chat"), " or ", h("a", { href: "#connect" }, "connect a client"), ".")));
    }
    return;
  }
  if (!box.querySelector("table")) {
    const heads = ["Request", "Model", "Worker", "Output", "Speed", "Took", "When"].map((name) => h("th", { scope: "col" }, name));
    box.replaceChildren(h("table", { className: "tasks" }, h("thead", {}, h("tr", {}, ...heads)), h("tbody")));
  }
  keyed(
    box.querySelector("tbody"),
    cluster.tasks,
    (task) => task.id + task.started,
    () => h("tr", {}, ...["endpoint", "model", "by", "output", "speed", "took", "when"].map((name) => h("td", { className: name, "data-head": name }))),
    (row, task) => {
      row.dataset.outcome = task.outcome === "ok" || task.outcome === "running" || task.outcome === "cancelled" ? task.outcome : "failed";
      const outcome = task.outcome === "ok" || task.outcome === "running" ? "" : task.outcome.replaceAll("_", " ");
      const cells = row.children;
      if (!cells[0].childElementCount) cells[0].append(h("span", { className: "outcome" }), h("b"), h("small"));
      say(cells[0].querySelector("b"), task.endpoint);
      say(cells[0].querySelector("small"), outcome);
      say(cells[1], task.model || "–");
      say(cells[2], task.worker || "–");
      say(cells[3], task.produced ? `${number(task.produced)} ${task.produced === 1 ? task.unit.slice(0, -1) : task.unit}` : "–");
      say(cells[4], task.rate && task.unit === "tokens" ? `${number(task.rate)}/s` : "–");
      say(cells[5], duration(task.seconds));
      say(cells[6], task.outcome === "running" ? "running" : ago(cluster.now - task.started - task.seconds));
    },
  );
}
