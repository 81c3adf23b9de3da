// What was used: by key, model or day, for as many days as one likes. A key without the right to more sees its own.

import { requestJson } from "./api.js";
import { byId, h, notice, refill, say } from "./dom.js";
import { duration, number } from "./format.js";

const DAY = 86400;
const SPANS = [["1", "today"], ["7", "7 days"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"]];

/** How the table can be split: the name of it, what the gateway is asked for, and what a row is called. */
const SPLITS = {
  api_key_id: { name: "by key", head: "Key", key: (result) => result.api_key_id, label: (result) => result.api_key_name },
  model: { name: "by model", head: "Model", key: (result) => result.model, label: (result) => result.model },
  day: { name: "by day", head: "Day (UTC)", key: (result, day) => day, label: (result, day) => new Date(day * 1000).toISOString().slice(0, 10) },
};

/** The columns; those that are `rare` are left out while there is nothing in them. */
const COLUMNS = [
  { head: "Requests", of: (used) => used.num_model_requests },
  { head: "Failed", of: (used) => used.num_errors },
  { head: "Prompt tokens", of: (used) => used.input_tokens },
  { head: "Of these cached", of: (used) => used.input_cached_tokens, rare: true },
  { head: "Answer tokens", of: (used) => used.output_tokens },
  { head: "Of these reasoning", of: (used) => used.output_reasoning_tokens, rare: true },
  { head: "Images", of: (used) => used.images, rare: true },
  { head: "Audio", of: (used) => used.audio_seconds, say: (seconds) => (seconds ? duration(seconds) : "0"), rare: true },
  { head: "Embeddings", of: (used) => used.embeddings, rare: true },
];

/** Show what was used each time the view is shown, or something else is chosen. */
export function startUsage() {
  const split = byId("usage-split");
  const span = byId("usage-span");
  refill(split, Object.entries(SPLITS).map(([value, { name }]) => [value, name]), "api_key_id");
  refill(span, SPANS, "30");
  let asked = 0;
  const show = async () => {
    if (byId("usage").hidden) return;
    const mine = ++asked;
    const problem = byId("usage-problem");
    try {
      const buckets = await ask(split.value, Number(span.value));
      if (mine !== asked) return;
      notice(problem, "");
      showTable(rowsOf(buckets, SPLITS[split.value]), SPLITS[split.value], span.selectedOptions[0].text);
    } catch (error) {
      if (mine !== asked) return;
      notice(problem, error.status === 401 ? "" : error.message);
    }
  };
  byId("usage").addEventListener("shown", show);
  window.addEventListener("keygiven", show);
  split.addEventListener("change", show);
  span.addEventListener("change", show);
}

async function ask(split, days) {
  const today = Math.floor(Date.now() / 1000 / DAY) * DAY;
  const query = new URLSearchParams({ start_time: today - (days - 1) * DAY, limit: 400 });
  if (split !== "day") query.set("group_by", split);
  const buckets = [];
  for (;;) {
    const page = await requestJson(`/v1/usage?${query}`);
    buckets.push(...page.data);
    if (!page.has_more) return buckets;
    query.set("page", page.next_page);
  }
}

/** Return a row for each key, model or day, those that took most tokens first, days the latest first. */
function rowsOf(buckets, split) {
  const rows = new Map();
  for (const bucket of buckets) {
    for (const result of bucket.results) {
      const key = split.key(result, bucket.start_time);
      const row = rows.get(key) ?? { key, label: split.label(result, bucket.start_time), day: bucket.start_time, tokens: 0, amounts: COLUMNS.map(() => 0) };
      COLUMNS.forEach((column, index) => (row.amounts[index] += column.of(result)));
      row.tokens += result.input_tokens + result.output_tokens;
      rows.set(key, row);
    }
  }
  const byTokens = (a, b) => b.tokens - a.tokens || b.amounts[0] - a.amounts[0] || a.label.localeCompare(b.label);
  return [...rows.values()].sort(split === SPLITS.day ? (a, b) => b.day - a.day : byTokens);
}

function showTable(rows, split, span) {
  byId("usage-results").hidden = !rows.length;
  byId("no-usage").hidden = rows.length > 0;
  const told = COLUMNS.map((column, index) => ({ ...column, index })).filter(({ rare, index }) => !rare || rows.some((row) => row.amounts[index]));
  const most = Math.max(1, ...rows.map((row) => row.tokens));
  const total = rows.reduce((sum, row) => sum + row.tokens, 0);
  say(byId("usage-caption"), `${number(total)} tokens, ${span}`);
  byId("usage-head").replaceChildren(h("tr", {}, ...[split.head, ...told.map(({ head }) => head)].map((name) => h("th", { scope: "col" }, name))));
  byId("usage-rows").replaceChildren(...rows.map((row) => rowFor(row, told, most)));
}

function rowFor(row, told, most) {
  const bar = h("div", { className: "share", "aria-hidden": "true" }, h("span"));
  bar.firstElementChild.style.inlineSize = `${(100 * row.tokens) / most}%`;
  const cells = told.map(({ head, index, say: text = number }) => h("td", { "data-head": head }, text(row.amounts[index])));
  return h("tr", { className: "first" }, h("th", { className: "who", scope: "row" }, h("b", {}, row.label), bar), ...cells);
}
