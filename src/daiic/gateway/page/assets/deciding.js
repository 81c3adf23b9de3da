// What the head decides by: the policy in force, the tasks that are not over, and why one is where it is.

import { requestJson } from "./api.js";
import { byId, h, keyed, notice, say } from "./dom.js";
import { duration, number } from "./format.js";
import { onCluster } from "./live.js";

/** Show the policy to everybody, its text and the tasks to those who may see them. */
export function startDeciding() {
  let mayAsk = null; // not known yet
  let digest = "";
  let asking = false;
  let asked = 0;

  async function learn() {
    mayAsk = false;
    mayAsk = (await requestJson("/api/models").catch(() => ({}))).may_manage ?? null;
    byId("policy-fold").hidden = !mayAsk || !digest;
  }

  /** Hide what another key may have shown, and learn again what this one may see. */
  function forget() {
    mayAsk = null;
    byId("running").hidden = true;
    byId("running-rows").replaceChildren();
    byId("policy-fold").open = false;
    byId("explanation").close();
  }

  byId("policy-fold").addEventListener("toggle", () => byId("policy-fold").open && showText());
  window.addEventListener("keygiven", forget);
  byId("explanation-close").addEventListener("click", () => byId("explanation").close());

  async function showText() {
    try {
      say(byId("policy-text"), (await requestJson("/api/cluster/policy")).text);
    } catch (error) {
      say(byId("policy-text"), error.message);
    }
  }

  async function showTasks() {
    asking = true;
    try {
      const { tasks, explained } = await requestJson("/api/cluster/tasks");
      byId("running").classList.toggle("unexplained", !explained);
      showRows(tasks);
    } catch (error) {
      if (error.status === 403) forget();
      // The stream tells of a head or a gateway that is gone, and a later snapshot asks again.
    }
    asked = Date.now();
    asking = false;
  }

  onCluster((cluster) => {
    if (!cluster || byId("cluster").hidden) return;
    showPolicy(cluster.policy);
    const now = cluster.policy?.digest ?? "";
    if (now !== digest) {
      digest = now;
      if (byId("policy-fold").open) showText();
    }
    byId("policy-fold").hidden = !mayAsk || !digest;
    const busy = cluster.in_flight + cluster.queued > 0 || byId("running-rows").childElementCount > 0;
    if (mayAsk === null && (busy || digest)) learn();
    if (mayAsk && busy && !asking && Date.now() - asked > 1500) showTasks();
  });
}

function showPolicy(policy) {
  byId("policy").hidden = !policy;
  if (!policy) return;
  const rules = `${number(policy.rules)} ${policy.rules === 1 ? "rule" : "rules"}`;
  say(byId("policy-name"), policy.digest ? policy.name || "without a name" : "None is in force");
  say(byId("policy-detail"), policy.digest ? `${rules} · ${policy.digest.slice(0, 12)}` : "");
  byId("policy-detail").title = policy.digest;
  notice(byId("policy-refused"), policy.refused && `The next policy was refused:\n${policy.refused}`);
}

function showRows(tasks) {
  if (tasks.length) byId("running").hidden = false;
  byId("running-table").hidden = !tasks.length;
  byId("no-running").hidden = tasks.length > 0;
  keyed(byId("running-rows"), tasks, (task) => task.number, createRow, updateRow);
}

function createRow(task) {
  const names = { number: "Task", kind: "Kind", model: "Model", by: "Worker", age: "For", attempts: "Attempts" };
  const button = h("button", { className: "link", type: "button", "aria-label": `Explain task ${task.number}` }, "Explain");
  button.addEventListener("click", () => explain(task.number));
  const cells = Object.entries(names).map(([name, head]) => h("td", { className: name, "data-head": head }));
  return h("tr", {}, ...cells, h("td", { className: "act" }, button));
}

function updateRow(row, task) {
  const where = [task.worker, task.hedge].filter(Boolean).join(" and ");
  const waits = task.awaits ? `waits for ${task.awaits}, which has read its prompt` : "waits";
  const texts = [task.number, task.kind, task.model || "–", where || waits, duration(task.age_ms / 1000), task.attempts];
  texts.forEach((text, index) => say(row.children[index], text));
}

async function explain(task) {
  const dialog = byId("explanation");
  const tell = (text, rules, verdicts) => {
    say(byId("explanation-said"), text);
    byId("explanation-rules").replaceChildren(...rules.map((rule) => h("li", {}, rule)));
    byId("explanation-verdicts").replaceChildren(...verdicts.map(verdictOf));
  };
  say(byId("explanation-title"), `Task ${task}`);
  tell("Asking the head.", [], []);
  dialog.dataset.task = task;
  if (!dialog.open) dialog.showModal();
  try {
    const { rules, verdicts } = await requestJson(`/api/cluster/tasks/${task}`);
    if (dialog.dataset.task === String(task)) tell(verdicts.length ? "" : "There is no worker.", rules, verdicts);
  } catch (error) {
    if (dialog.dataset.task === String(task)) tell(error.message, [], []);
  }
}

function verdictOf(verdict) {
  const time = verdict.seconds === null ? "" : `done in ${duration(verdict.seconds)}`;
  const head = h("p", {}, h("b", {}, verdict.name), h("span", { className: "chosen" }, verdict.chosen ? "chosen" : ""), h("span", { className: "soft" }, time));
  const rules = verdict.rules.length ? h("ul", { "aria-label": `Rules about ${verdict.name}` }, ...verdict.rules.map((rule) => h("li", {}, rule))) : null;
  return h("li", {}, head, h("p", {}, verdict.reason), rules);
}
