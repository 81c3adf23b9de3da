// One answer of a chat: it streams into an element, with what the model thinks and calls folded.

import { events } from "./api.js";
import { h, say } from "./dom.js";
import { duration, number } from "./format.js";
import { loadingState } from "./models.js";
import { renderText } from "./prose.js";

/**
 * Ask for `request` and show the answer in a new article, added to `place`; it says `by` whom it is, if that is not
 * empty, and what changes in it changes within `keep`.
 * Returns {element, foot, message}; `message` is null if there is nothing to go on with.
 */
export async function streamAnswer(place, request, { signal, keep, by }) {
  const body = h("div", { className: "body" });
  const foot = h("footer", { className: "foot" }, "waiting");
  const element = h("article", { className: "message assistant busy", "aria-label": by ? `Answer of ${by}` : "Answer" }, by ? h("p", { className: "by" }, by) : null, body, foot);
  keep(() => place.append(element));
  const said = { text: "", reasoning: "", calls: [] };
  const folds = foldsIn(element, body);
  const begin = performance.now();
  let first = 0;
  let usage = null;
  let reason = "";
  let failed = "";
  const hold = setInterval(() => {
    if (!first) foot.textContent = loadingState(request.model, "chat") || `waiting ${duration((performance.now() - begin) / 1000)}`;
  }, 500);
  try {
    for await (const event of events("/v1/chat/completions", { body: request, signal })) {
      usage = event.usage ?? usage;
      const choice = event.choices[0];
      reason = choice?.finish_reason ?? reason;
      if (!choice || !take(said, choice.delta)) continue;
      first ||= performance.now();
      keep(() => {
        renderText(body, said.text);
        folds(said);
        foot.textContent = duration((performance.now() - begin) / 1000);
      });
    }
  } catch (error) {
    failed = error.name === "AbortError" ? "stopped" : error.message;
    element.classList.toggle("failed", error.name !== "AbortError");
    if (error.code === "answer_started_over") {
      Object.assign(said, { text: "", reasoning: "", calls: [] });
      renderText(body, "");
      folds(said);
    }
  } finally {
    clearInterval(hold);
    element.classList.remove("busy");
  }
  keep(() => foot.replaceChildren(h("span", {}, failed || summary(usage, begin, first, reason))));
  return { element, foot, message: messageOf(said, failed) };
}

/** Add what an event says to `said`; return whether it says anything. */
function take(said, delta) {
  said.text += delta.content ?? "";
  said.reasoning += delta.reasoning_content ?? "";
  for (const part of delta.tool_calls ?? []) {
    const call = (said.calls[part.index] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
    call.id ||= part.id ?? "";
    call.function.name ||= part.function?.name ?? "";
    call.function.arguments += part.function?.arguments ?? "";
  }
  return Boolean(delta.content || delta.reasoning_content || delta.tool_calls);
}

function messageOf(said, failed) {
  const calls = failed ? [] : said.calls.filter(Boolean);
  if (!said.text && !calls.length) return null;
  const message = { role: "assistant", content: said.text };
  if (calls.length) message.tool_calls = calls;
  return message;
}

/** Return a function that shows thoughts before, and calls after, the text of an answer. */
function foldsIn(element, body) {
  let thoughts = null;
  const calls = [];
  const fold = (title) => h("details", { className: "fold" }, h("summary", {}, title), h("pre", { tabIndex: 0 }));
  return (said) => {
    if (said.reasoning && !thoughts) element.insertBefore((thoughts = fold("Thinking")), body);
    if (thoughts) {
      thoughts.hidden = !said.reasoning;
      say(thoughts.firstElementChild, said.text ? "Thoughts" : "Thinking …");
      say(thoughts.lastElementChild, said.reasoning);
    }
    said.calls.forEach((call, index) => {
      if (!calls[index]) element.insertBefore((calls[index] = fold("")), element.querySelector(".foot"));
      say(calls[index].firstElementChild, `Calls ${call.function.name}`);
      say(calls[index].lastElementChild, call.function.arguments);
    });
    for (const extra of calls.splice(said.calls.length)) extra.remove();
  };
}

function summary(usage, begin, first, reason) {
  const end = performance.now();
  const parts = [];
  if (usage) parts.push(`${number(usage.completion_tokens)} tokens`);
  if (usage?.completion_tokens > 1 && end > first) parts.push(`${number(((usage.completion_tokens - 1) / (end - first)) * 1000)} tokens/s`);
  if (usage?.completion_tokens_details?.reasoning_tokens) parts.push(`${number(usage.completion_tokens_details.reasoning_tokens)} of them thinking`);
  if (first) parts.push(`first token after ${duration((first - begin) / 1000)}`);
  if (reason === "length") parts.push("cut at the token limit");
  return parts.join(" · ");
}
