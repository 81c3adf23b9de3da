// The page as a whole: its views, colours, API key, and the state of the connection.

import { key } from "./api.js";
import { startChat } from "./chat.js";
import { startClusterView } from "./cluster.js";
import { startConnect } from "./connect.js";
import { startDeciding } from "./deciding.js";
import { byId, say } from "./dom.js";
import { startImages } from "./images.js";
import { startInventory } from "./inventory.js";
import { follow, onCluster } from "./live.js";
import { startSession } from "./session.js";
import { startSpeed } from "./speed.js";
import { startUsage } from "./usage.js";

const VIEWS = ["cluster", "chat", "images", "models", "speed", "usage", "connect"];

function showView() {
  const wanted = location.hash.slice(1);
  if (wanted === "main") return;
  const view = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  for (const name of VIEWS) byId(name).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  byId(view).dispatchEvent(new Event("shown"));
  document.title = view === "cluster" ? "DAIIC" : `DAIIC – ${byId(view).getAttribute("aria-label")}`;
}

const ICONS = { auto: "◐", light: "☀", dark: "☾" };

function startTheme() {
  const button = byId("theme-button");
  const order = ["auto", "light", "dark"];
  const show = () => {
    const now = document.documentElement.dataset.theme ?? "auto";
    button.textContent = ICONS[now];
    button.setAttribute("aria-label", `Colours: ${now}. Change`);
    button.title = `Colours: ${now}`;
    return now;
  };
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(show()) + 1) % order.length];
    if (next === "auto") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("daiic-theme");
    } else {
      document.documentElement.dataset.theme = next;
      localStorage.setItem("daiic-theme", next);
    }
    show();
  });
  show();
}

function startKey() {
  const dialog = byId("key-dialog");
  const input = byId("key-input");
  const open = () => dialog.open || dialog.showModal();
  window.addEventListener("keyneeded", (event) => {
    byId("key-wrong").hidden = !event.detail;
    byId("key-button").hidden = false;
    key.clear();
    open();
  });
  byId("key-button").addEventListener("click", open);
  dialog.addEventListener("close", () => {
    if (!input.value) return;
    key.set(input.value.trim());
    input.value = "";
    window.dispatchEvent(new Event("keygiven"));
  });
}

function showPulse(snapshot) {
  const pulse = byId("pulse");
  const ready = snapshot?.workers.filter((worker) => worker.state === "ready").length ?? 0;
  const state = !snapshot ? "away" : snapshot.problem ? "broken" : ready ? "well" : "empty";
  pulse.dataset.state = state;
  const text = {
    away: "gateway unreachable",
    broken: "head unreachable",
    empty: "no worker ready",
    well: `${ready} ${ready === 1 ? "worker" : "workers"} ready`,
  }[state];
  say(byId("pulse-text"), text);
}

startTheme();
startKey();
if (matchMedia("(max-width: 800px)").matches) {
  for (const details of document.querySelectorAll(".panel details")) details.open = false;
}
startClusterView();
startDeciding();
startChat();
startImages();
startInventory();
startSpeed();
startUsage();
startSession();
startConnect();
onCluster(showPulse);
window.addEventListener("hashchange", showView);
showView();
follow();
