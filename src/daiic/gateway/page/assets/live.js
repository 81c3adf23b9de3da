// The cluster as it is now: one stream for the whole page, opened again when it breaks.

import { events } from "./api.js";

const RETRY_MS = 2000;
const listeners = new Set();

/** The latest snapshot; `null` before the first and while the gateway is unreachable. */
export let cluster = null;

/** Call `listener` with every snapshot, and with `null` when the gateway becomes unreachable. */
export function onCluster(listener) {
  listeners.add(listener);
}

function tell(snapshot) {
  cluster = snapshot;
  for (const listener of listeners) listener(snapshot);
}

function shown() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true })).then(shown);
}

/**
 * Follow the cluster for as long as the page is open. A hidden page does not: browsers allow few
 * connections to one host, and many tabs would use them up.
 */
export async function follow() {
  for (;;) {
    await shown();
    const hiding = new AbortController();
    const hide = () => document.hidden && hiding.abort();
    document.addEventListener("visibilitychange", hide);
    try {
      for await (const snapshot of events("/api/cluster", { signal: hiding.signal })) tell(snapshot);
    } catch (error) {
      if (error.name === "AbortError") continue;
      if (error.status === 401) {
        await new Promise((resolve) => window.addEventListener("keygiven", resolve, { once: true }));
        continue;
      }
    } finally {
      document.removeEventListener("visibilitychange", hide);
    }
    tell(null);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Return the models with a capability, best state first: [{name, state, workers, quantization, progress}]. */
export function modelsThat(capability, snapshot = cluster) {
  const order = ["loaded", "loading", "downloading", "available"];
  const found = new Map();
  for (const worker of snapshot?.workers ?? []) {
    for (const model of worker.models) {
      if (!model.capabilities.includes(capability) || !order.includes(model.state)) continue;
      const held = found.get(model.name);
      if (!held || order.indexOf(model.state) < order.indexOf(held.state)) found.set(model.name, model);
    }
  }
  return [...found.values()].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || a.name.localeCompare(b.name));
}
