// The choice of a model: those that the cluster has, and any other if a worker may download.

import { refill } from "./dom.js";
import { modelsThat, onCluster } from "./live.js";

const OTHER = "\u0000other";
const STATES = { loaded: "", available: " (on disk)", loading: " (loading)", downloading: " (downloading)" };

/**
 * Keep `select` filled with the models that have `capability`; return a function that returns the chosen name.
 * With `before`, [value, text] pairs that come first, no other model can be named.
 */
export function modelChoice(form, select, capability, before) {
  const other = form.querySelector(".other");
  let shown = "";
  const toggle = () => {
    if (before) return;
    other.hidden = select.value !== OTHER;
    other.querySelector("input").required = !other.hidden;
  };
  select.addEventListener("change", toggle);
  onCluster((cluster) => {
    if (!cluster) return;
    const models = modelsThat(capability, cluster);
    const options = [...(before ?? []), ...models.map((model) => [model.name, model.name + STATES[model.state]])];
    if (!before && cluster.workers.some((worker) => worker.can_download)) options.push([OTHER, "Other, from Hugging Face …"]);
    const now = JSON.stringify(options);
    if (now === shown) return;
    shown = now;
    refill(select, options.length ? options : [["", "no model"]]);
    toggle();
  });
  return () => (select.value === OTHER ? other.querySelector("input").value.trim() : select.value);
}

/** Return what a model is doing while it is not ready: "loading stories, 40 %", or nothing. */
export function loadingState(name, capability) {
  const model = modelsThat(capability).find((known) => known.name === name);
  if (!model || (model.state !== "loading" && model.state !== "downloading")) return "";
  return `${model.state} ${name}, ${Math.round(model.progress * 100)} %`;
}

/** Return those of the named number fields of a form that are filled in. */
export function numbers(form, names) {
  const given = names.filter((name) => form.elements[name].value !== "");
  return Object.fromEntries(given.map((name) => [name, Number(form.elements[name].value)]));
}
