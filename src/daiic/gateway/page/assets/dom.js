// Creates and updates elements; the page is small enough to need no framework.

/** Return the element with this id. */
export const byId = (id) => document.getElementById(id);

/** Return a new element; `props` are properties, or attributes if they have a dash or are `role`. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Return a new element of a drawing; `attributes` are set as they are. */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Give a select these options, [value, text] each; the `preferred` one is chosen if it is among them. */
export function refill(select, options, preferred = select.value) {
  select.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
  if (options.some(([value]) => value === preferred)) select.value = preferred;
}

/** Set an element's text, but only if it differs, so that it disturbs neither selections nor screen readers. */
export function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** Show `text` in a box that is hidden while there is none. */
export function notice(box, text) {
  box.hidden = !text;
  say(box, text);
}

/**
 * Make the children of `container` match `items`, in order, keeping those whose key stays.
 * `create(item)` returns an element; `update(element, item)` fills it in.
 */
export function keyed(container, items, key, create, update) {
  const held = new Map([...container.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const name = String(key(item));
    let element = held.get(name);
    held.delete(name);
    if (!element) {
      element = create(item);
      element.dataset.key = name;
    }
    update(element, item);
    if (container.children[index] !== element) container.insertBefore(element, container.children[index] ?? null);
  });
  for (const gone of held.values()) gone.remove();
}

/** Return a bar that `fill` sets. */
export function meter(label) {
  return h("div", { className: "meter", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 }, h("span"));
}

/** Show `share` (0 to 1) on a meter. */
export function fill(bar, share) {
  const percent = Math.round(Math.max(0, Math.min(1, share)) * 100);
  bar.setAttribute("aria-valuenow", percent);
  bar.firstElementChild.style.inlineSize = `${percent}%`;
  bar.classList.toggle("high", percent >= 90);
}

/** Return a block of code with a button that copies it. */
export function snippet(code) {
  const button = h("button", { className: "quiet copy", type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return h("figure", { className: "snippet" }, button, h("pre", {}, h("code", {}, code)));
}
