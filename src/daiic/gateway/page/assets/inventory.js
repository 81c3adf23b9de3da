// The models view: what is where, with pulls, and what administrators do with models.

import { request, requestJson } from "./api.js";
import { byId, fill, h, keyed, meter, notice, say } from "./dom.js";
import { bytes } from "./format.js";
import { cluster, onCluster } from "./live.js";

/** What can be done with a model, in the order of the buttons, and what is said then. */
const DONE = { pin: "pinned", unpin: "no longer pinned", unload: "unloaded", delete: "deleted" };

/** Make the models view work. */
export function startInventory() {
  const form = byId("pull-form");
  let mayManage = false;

  const tell = (text, failed = false) => {
    say(byId("models-said"), failed ? "" : text);
    notice(byId("models-problem"), failed ? text : "");
  };

  async function act(action, model, worker) {
    if (action === "delete" && !confirm(`Delete ${model.name} from ${worker.name}?`)) return;
    tell(`${model.name} on ${worker.name}: working on it`);
    try {
      const { outcomes } = await requestJson("/api/models", { body: { model: model.name, action, workers: [worker.id] } });
      const [outcome] = outcomes;
      tell(outcome.error || `${model.name} is ${DONE[action]} on ${worker.name}`, Boolean(outcome.error));
    } catch (error) {
      tell(error.message, true);
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const model = form.elements.model.value.trim();
    byId("pull").disabled = true;
    tell(`${model} is being pulled; its row below shows how far it is`);
    try {
      await request("/api/pull", { body: { model, stream: false } });
      tell(`${model} is loaded`);
      form.reset();
    } catch (error) {
      tell(error.message, true);
    } finally {
      byId("pull").disabled = false;
    }
  });

  const button = (row, action) => {
    const element = h("button", { className: "link", type: "button" }, action);
    element.dataset.action = action;
    element.addEventListener("click", () => act(action, row.model, row.worker));
    return element;
  };

  function create(row) {
    const element = h("tr", {}, h("td", {}, h("b")), h("td"), h("td"), h("td", {}, h("span"), meter("Progress")), h("td"));
    element.append(h("td", {}, ...Object.keys(DONE).map((action) => button(element, action))));
    return element;
  }

  function update(element, { model, worker }) {
    Object.assign(element, { model, worker });
    const [name, can, where, state, memory, actions] = element.children;
    say(name.firstElementChild, model.name);
    say(can, model.capabilities.join(", ") || "–");
    say(where, worker.name);
    const busy = model.state === "loading" || model.state === "downloading";
    const words = busy ? `${model.state} ${Math.round(model.progress * 100)} %` : model.state === "available" ? "on disk" : model.state;
    say(state.querySelector("span"), model.pinned ? `${words}, pinned` : words);
    state.title = model.detail;
    state.querySelector(".meter").hidden = !busy;
    fill(state.querySelector(".meter"), model.progress);
    say(memory, model.bytes ? bytes(model.bytes) : "–");
    const loaded = model.state === "loaded";
    const offered = {
      pin: !model.pinned && (loaded || model.state === "available"),
      unpin: model.pinned,
      unload: loaded,
      delete: model.downloaded && !busy,
    };
    for (const one of actions.children) {
      one.hidden = !mayManage || !offered[one.dataset.action];
      one.setAttribute("aria-label", `${one.dataset.action} ${model.name} on ${worker.name}`);
    }
  }

  function show(snapshot) {
    const rows = snapshot.workers.flatMap((worker) => worker.models.map((model) => ({ model, worker })));
    rows.sort((a, b) => a.model.name.localeCompare(b.model.name) || a.worker.name.localeCompare(b.worker.name));
    form.hidden = !snapshot.workers.some((worker) => worker.can_download);
    byId("inventory").hidden = !rows.length;
    byId("no-models").hidden = rows.length > 0;
    keyed(byId("inventory-rows"), rows, ({ model, worker }) => `${worker.id} ${model.name}`, create, update);
  }

  async function learnRights() {
    try {
      mayManage = (await requestJson("/api/models")).may_manage;
    } catch {
      return; // the cluster's stream tells of an unreachable gateway, or of a key that is needed
    }
    byId("models-refused").hidden = mayManage;
    if (cluster) show(cluster);
  }

  byId("models").addEventListener("shown", learnRights);
  window.addEventListener("keygiven", () => byId("models").hidden || learnRights());
  onCluster((snapshot) => snapshot && show(snapshot));
}
