// How to use the cluster from other programs, with its real address and models.

import { key } from "./api.js";
import { byId, h, snippet } from "./dom.js";
import { modelsThat, onCluster } from "./live.js";

/** Keep the view's examples in line with the cluster. */
export function startConnect() {
  let shown = "";
  onCluster((cluster) => {
    if (!cluster && shown) return;
    const model = modelsThat("chat", cluster)[0]?.name ?? "MODEL";
    const embedders = modelsThat("embed", cluster);
    // Language models can, but models made for it are better.
    const embedding = (embedders.find((known) => !known.capabilities.includes("chat")) ?? embedders[0])?.name;
    const now = JSON.stringify([model, embedding]);
    if (now === shown) return;
    shown = now;
    byId("connect").replaceChildren(...examples(`${location.origin}/v1`, model, embedding));
  });
}

function examples(base, model, embedding) {
  const keyHeader = key.get() ? `  -H "Authorization: Bearer $DAIIC_API_KEY" \\\n` : "";
  const blocks = [
    h("p", { className: "lead" }, "Any OpenAI client works with this base URL:"),
    snippet(base),
    h("h2", {}, "From a shell"),
    snippet(`curl ${base}/chat/completions \\\n  -H 'Content-Type: application/json' \\\n${keyHeader}  -d '{\n    "model": "${model}",\n    "messages": [{"role": "user", "content": "Hello"}]\n  }'`),
    h("h2", {}, "From Python"),
    snippet(`from openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key="${key.get() ? "…" : "none"}")\nstream = client.chat.completions.create(\n    model="${model}",\n    messages=[{"role": "user", "content": "Hello"}],\n    stream=True,\n)\nfor event in stream:\n    print(event.choices[0].delta.content or "", end="", flush=True)`),
  ];
  if (embedding) {
    blocks.push(h("h2", {}, "Embeddings"), snippet(`curl ${base}/embeddings \\\n  -H 'Content-Type: application/json' \\\n${keyHeader}  -d '{"model": "${embedding}", "input": ["one text", "another"]}'`));
  }
  blocks.push(h("p", { className: "soft" }, "The whole API is documented in ", h("a", { href: "/openapi.json" }, "openapi.json"), "."));
  return blocks;
}
