// The chat playground: answers stream, can be stopped and asked for again, and compared between two models.

import { streamAnswer } from "./answer.js";
import { attachments } from "./attachments.js";
import { byId, h, say } from "./dom.js";
import { microphone } from "./microphone.js";
import { onCluster } from "./live.js";
import { modelChoice, numbers } from "./models.js";
import { renderText } from "./prose.js";
import { resultsForm, toolsIn } from "./tools.js";

const SUGGESTIONS = ["Once upon a time", "Explain a hash table to a gardener", "Write a haiku about rain"];

/** Make the chat view work. */
export function startChat() {
  const settings = byId("chat-settings");
  const thread = byId("thread");
  const input = byId("say");
  const send = byId("send");
  const model = modelChoice(settings, byId("chat-model"), "chat");
  const other = byId("chat-compare");
  modelChoice(settings, other, "chat", [["", "nothing"]]);
  let conversations = [[]]; // what each of the models that are compared has been told and has said
  let running = null;

  const complain = (text) => say(byId("chat-problem"), text);
  const pictures = attachments({ shelf: byId("chat-pictures"), choose: byId("chat-attach"), input, target: byId("composer"), complain });
  microphone(byId("chat-speak"), input, complain);

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

  /** Make a `change`, and keep the end in view unless its reader looks elsewhere. */
  const keep = (change) => {
    const follow = !byId("chat").hidden && atEnd();
    change();
    if (follow) toEnd();
  };

  async function ask(text) {
    if (running || !(text.trim() || pictures.any)) return;
    let tools;
    try {
      tools = toolsIn(settings.elements.tools.value);
    } catch (error) {
      complain(error.message);
      return;
    }
    complain("");
    thread.querySelector(".welcome")?.remove();
    const shown = pictures.take();
    const content = shown.length ? [...(text ? [{ type: "text", text }] : []), ...shown.map((url) => ({ type: "image_url", image_url: { url } }))] : text;
    const models = [model(), other.value].filter(Boolean);
    conversations = models.map((_, index) => [...(conversations[index] ?? conversations[0]), { role: "user", content }]);
    showQuestion(text, shown);
    const place = h("div", { className: "answers" });
    thread.append(place);
    toEnd();
    await answer(models.map((name, index) => ({ name, messages: conversations[index], place, tools, compared: models.length > 1 })));
  }

  function showQuestion(text, shown) {
    const body = h("div", { className: "body" });
    renderText(body, text);
    const images = shown.map((source) => h("img", { src: source, alt: "A picture that you sent" }));
    thread.append(h("article", { className: "message user", "aria-label": "You" }, ...images, body));
  }

  /** Have the models answer at once: each `turn` is {name, messages, place, tools, compared}. */
  async function answer(turns) {
    const controller = new AbortController();
    setRunning(controller);
    await Promise.all(turns.map((turn) => answerOne(turn, controller.signal)));
    setRunning(null);
  }

  async function answerOne(turn, signal) {
    const system = settings.elements.system.value.trim();
    const effort = settings.elements.reasoning_effort.value;
    const request = {
      model: turn.name,
      messages: [...(system ? [{ role: "system", content: system }] : []), ...turn.messages],
      stream: true,
      stream_options: { include_usage: true },
      ...(turn.tools ? { tools: turn.tools } : {}),
      ...(effort ? { reasoning_effort: effort } : {}),
      ...numbers(settings, ["temperature", "top_p", "max_tokens", "seed"]),
    };
    const { element, foot, message } = await streamAnswer(turn.place, request, { signal, keep, by: turn.compared ? turn.name : "" });
    if (message) turn.messages.push(message);
    keep(() => {
      foot.append(...actions(element, turn, message));
      if (message?.tool_calls && turn.tools) element.append(resultsForm(message.tool_calls, (results) => goOn(turn, results)));
    });
  }

  function goOn(turn, results) {
    turn.messages.push(...results);
    answer([turn]);
  }

  function actions(element, turn, message) {
    const copy = h("button", { className: "link", type: "button" }, "copy");
    copy.addEventListener("click", () => navigator.clipboard.writeText(message.content));
    const again = h("button", { className: "link", type: "button" }, "again");
    again.addEventListener("click", () => {
      if (running || turn.place !== thread.lastElementChild || turn.messages.at(-1) !== (message ?? turn.messages.at(-1))) return;
      if (message) turn.messages.pop();
      element.remove();
      answer([turn]);
    });
    return message?.content ? [copy, again] : [again];
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
  byId("chat").addEventListener("shown", () => conversations[0].length && toEnd());
  byId("chat-new").addEventListener("click", () => {
    running?.abort();
    conversations = [[]];
    welcome();
    input.focus();
  });
  onCluster((cluster) => {
    send.disabled = !running && !cluster?.workers.length;
  });
  welcome();
}
