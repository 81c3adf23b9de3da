// Tools that a person plays: a model is told of them, and what it calls is answered by hand.

import { h } from "./dom.js";

/** Return the tools in `text`, a JSON list as OpenAI's API has it, or nothing if there are none. */
export function toolsIn(text) {
  if (!text.trim()) return undefined;
  let tools;
  try {
    tools = JSON.parse(text);
  } catch {
    throw new Error("The tools are not JSON: a list of {\"type\": \"function\", \"function\": {\"name\": …}}.");
  }
  if (!Array.isArray(tools)) throw new Error("The tools are not a list.");
  return tools.map((tool) => (tool.type ? tool : { type: "function", function: tool }));
}

/** Return a form for what the called tools give; `send` gets the messages that say so. */
export function resultsForm(calls, send) {
  const fields = calls.map((call) => h("label", {}, `Result of ${call.function.name} `, h("textarea", { rows: 1, required: true })));
  const form = h("form", { className: "results" }, ...fields, h("button", { className: "quiet", type: "submit" }, "Send results"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    form.remove();
    send(calls.map((call, index) => ({ role: "tool", tool_call_id: call.id, content: fields[index].querySelector("textarea").value })));
  });
  return form;
}
