// The image playground: progress by steps, a stop button, and a gallery.

import { events } from "./api.js";
import { byId, fill, h, notice, say } from "./dom.js";
import { duration } from "./format.js";
import { onCluster } from "./live.js";
import { modelChoice, numbers, loadingState } from "./models.js";

const PHASES = { steps: "generating", load: "loading the model", download: "downloading the model" };

/** Make the image view work. */
export function startImages() {
  const form = byId("image-form");
  const button = byId("make");
  const gallery = byId("gallery");
  const bar = byId("making-meter");
  const model = modelChoice(form, byId("image-model"), "paint");
  let running = null;
  gallery.append(h("div", { className: "welcome" }, h("p", { className: "lead" }, "Describe an image."), h("p", { className: "soft" }, "Each image shows its seed: the same seed and settings make the same image again.")));

  const setRunning = (controller) => {
    running = controller;
    button.textContent = controller ? "Stop" : "Generate";
    button.classList.toggle("stop", Boolean(controller));
    byId("making").hidden = !controller;
  };

  function body() {
    const { width, height, ...rest } = numbers(form, ["width", "height", "steps", "guidance", "seed", "n"]);
    const request = { model: model(), prompt: form.elements.prompt.value, stream: true, ...rest };
    if (form.elements.negative_prompt.value) request.negative_prompt = form.elements.negative_prompt.value;
    if (width || height) request.size = `${width ?? height}x${height ?? width}`;
    return request;
  }

  async function make() {
    const request = body();
    const controller = new AbortController();
    const begin = performance.now();
    notice(byId("image-problem"), "");
    setRunning(controller);
    fill(bar, 0);
    say(byId("making-count"), "");
    say(byId("making-text"), "waiting");
    let begun = false;
    const hold = setInterval(() => {
      if (!begun) say(byId("making-text"), loadingState(request.model, "paint") || "waiting");
    }, 500);
    try {
      for await (const event of events("/v1/images/generations", { body: request, signal: controller.signal })) {
        if (event.type === "image_generation.progress") {
          begun = true;
          say(byId("making-text"), PHASES[event.phase] ?? event.phase);
          const steps = event.phase === "steps" && event.total;
          say(byId("making-count"), steps ? `${event.done} / ${event.total}` : "");
          fill(bar, event.total ? event.done / event.total : 0);
        } else if (event.type === "image_generation.completed") {
          add(event, request, (performance.now() - begin) / 1000);
        }
      }
    } catch (error) {
      if (error.name !== "AbortError") notice(byId("image-problem"), error.message);
    } finally {
      clearInterval(hold);
      setRunning(null);
    }
  }

  function add(event, request, seconds) {
    gallery.querySelector(".welcome")?.remove();
    const source = `data:image/png;base64,${event.b64_json}`;
    const name = `${request.prompt.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 40)}-${event.seed}.png`;
    const seed = h("button", { className: "link", type: "button", title: "Use this seed" }, `seed ${event.seed}`);
    seed.addEventListener("click", () => (form.elements.seed.value = event.seed));
    const image = h("img", { src: source, alt: request.prompt });
    image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 200));
    gallery.prepend(
      h(
        "figure",
        { className: "picture" },
        image,
        h("figcaption", {}, h("span", { className: "prompt" }, request.prompt), h("span", { className: "foot" }, seed, h("span", {}, duration(seconds)), h("a", { href: source, download: name }, "download"))),
      ),
    );
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else make();
  });
  byId("images").addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  onCluster((cluster) => {
    button.disabled = !running && !cluster?.workers.length;
  });
}
