// The chat playground: answers stream, and can be stopped and asked for again.

import { events } from "./api.js";
import { byId, h } from "./dom.js";
import { duration, number } from "./format.js";
import { onCluster } from "./live.js";
import { modelChoice, numbers, loadingState } from "./models.js";
import { renderText } from "./prose.js";

const SUGGESTIONS = ["Once upon a time", "Explain a hash table to a gardener", "Write a haiku about rain"];

/** Make the chat view work. */
export function startChat() {
  const settings = byId("chat-settings");
  const thread = byId("thread");
  const input = byId("say");
  const send = byId("send");
  const model = modelChoice(settings, byId("chat-model"), "chat");
  let messages = [];
  let running = null;

  const welcome = () => {
    const buttons = SUGGESTIONS.map((text) => {
      const button = h("button", { className: "quiet", type: "button" }, text);
      button.addEventListener("click", () => ask(text));
      return button;
    });
    thread.replaceChildren(h("div", { className: "welcome" }, h("p", { className: "lead" }, "Ask the cluster."), h("p", { className: "soft" }, "Nothing is stored: the conversation exists only in this tab."), h("div", { className: "suggestions" }, ...buttons)));
  };

  const setRunning = (controller) => {
    running = controller;
    send.textContent = controller ? "Stop" : "Send";
    send.classList.toggle("stop", Boolean(controller));
  };

  // On a narrow screen the thread is as long as its contents, and the page scrolls.
  const scroller = () => (getComputedStyle(thread).overflowY === "auto" ? thread : document.scrollingElement);
  const atEnd = (box = scroller()) => box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  const toEnd = (box = scroller()) => (box.scrollTop = box.scrollHeight);

  function bubble(role, text) {
    const body = h("div", { className: "body" });
    renderText(body, text);
    const element = h("article", { className: `message ${role}`, "aria-label": role === "user" ? "You" : "Answer" }, body);
    thread.append(element);
    return element;
  }

  async function ask(text) {
    if (running || !text.trim()) return;
    thread.querySelector(".welcome")?.remove();
    messages.push({ role: "user", content: text });
    bubble("user", text);
    toEnd();
    await answer();
  }

  async function answer() {
    const element = bubble("assistant", "");
    const body = element.querySelector(".body");
    const foot = h("footer", { className: "foot" }, "waiting");
    element.append(foot);
    element.classList.add("busy");
    toEnd();
    const system = settings.elements.system.value.trim();
    const request = {
      model: model(),
      messages: [...(system ? [{ role: "system", content: system }] : []), ...messages],
      stream: true,
      stream_options: { include_usage: true },
      ...numbers(settings, ["temperature", "top_p", "max_tokens", "seed"]),
    };
    const controller = new AbortController();
    setRunning(controller);
    const begin = performance.now();
    let first = 0;
    let text = "";
    let usage = null;
    let reason = "";
    let failed = "";
    const hold = setInterval(() => {
      if (!first) foot.textContent = loadingState(request.model, "chat") || `waiting ${duration((performance.now() - begin) / 1000)}`;
    }, 500);
    try {
      for await (const event of events("/v1/chat/completions", { body: request, signal: controller.signal })) {
        usage = event.usage ?? usage;
        const choice = event.choices[0];
        reason = choice?.finish_reason ?? reason;
        if (!choice?.delta.content) continue;
        first ||= performance.now();
        text += choice.delta.content;
        const follow = !byId("chat").hidden && atEnd();
        renderText(body, text);
        foot.textContent = duration((performance.now() - begin) / 1000);
        if (follow) toEnd();
      }
    } catch (error) {
      failed = error.name === "AbortError" ? "stopped" : error.message;
      element.classList.toggle("failed", error.name !== "AbortError");
      if (error.code === "answer_started_over") {
        text = "";
        renderText(body, text);
      }
    } finally {
      clearInterval(hold);
      setRunning(null);
      element.classList.remove("busy");
    }
    if (text) messages.push({ role: "assistant", content: text });
    const follow = !byId("chat").hidden && (atEnd() || failed);
    foot.replaceChildren(h("span", {}, failed || summary(usage, begin, first, reason)), ...actions(element, text));
    if (follow) toEnd();
  }

  function summary(usage, begin, first, reason) {
    const end = performance.now();
    const parts = [];
    if (usage) parts.push(`${number(usage.completion_tokens)} tokens`);
    if (usage?.completion_tokens > 1 && end > first) parts.push(`${number(((usage.completion_tokens - 1) / (end - first)) * 1000)} tokens/s`);
    if (first) parts.push(`first token after ${duration((first - begin) / 1000)}`);
    if (reason === "length") parts.push("cut at the token limit");
    return parts.join(" · ");
  }

  function actions(element, text) {
    const copy = h("button", { className: "link", type: "button" }, "copy");
    copy.addEventListener("click", () => navigator.clipboard.writeText(text));
    const again = h("button", { className: "link", type: "button" }, "again");
    again.addEventListener("click", () => {
      if (running || thread.lastElementChild !== element) return;
      if (messages.at(-1)?.role === "assistant") messages.pop();
      element.remove();
      answer();
    });
    return text ? [copy, again] : [again];
  }

  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) {
      running.abort();
      return;
    }
    if (!settings.reportValidity()) return;
    const text = input.value;
    input.value = "";
    ask(text);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!running) byId("composer").requestSubmit();
    }
  });
  byId("chat").addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  byId("chat").addEventListener("shown", () => messages.length && toEnd());
  byId("chat-new").addEventListener("click", () => {
    running?.abort();
    messages = [];
    welcome();
    input.focus();
  });
  onCluster((cluster) => {
    send.disabled = !running && !cluster?.workers.length;
  });
  welcome();
}
