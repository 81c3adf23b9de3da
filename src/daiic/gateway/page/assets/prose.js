// Shows what a model writes as text, never as HTML; fenced code gets a block of its own.

import { h } from "./dom.js";

/** Show `text` in `element`. */
export function renderText(element, text) {
  const parts = text.split(/^```[^\n]*\n?/m);
  const children = parts.map((part, index) => (index % 2 ? h("pre", { tabIndex: 0 }, h("code", {}, part.replace(/\n$/, ""))) : h("span", {}, part)));
  element.replaceChildren(...children);
}
