// Pictures that go with a message: chosen, pasted or dropped, made small enough, and shown.

import { h } from "./dom.js";

const LARGEST_SIDE = 1536;
const MOST = 8;

/** Collect pictures in `shelf`, from the button `choose`, pastes into `input` and drops onto `target`. */
export function attachments({ shelf, choose, input, target, complain }) {
  let pictures = [];
  const picker = h("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  shelf.after(picker);

  const show = () => {
    shelf.hidden = !pictures.length;
    shelf.replaceChildren(
      ...pictures.map((picture, index) => {
        const remove = h("button", { className: "quiet icon", type: "button", "aria-label": `Remove picture ${index + 1}` }, "×");
        remove.addEventListener("click", () => {
          pictures = pictures.toSpliced(index, 1);
          show();
          input.focus();
        });
        return h("li", {}, h("img", { src: picture, alt: `Picture ${index + 1}` }), remove);
      }),
    );
  };

  async function add(files) {
    for (const file of files) {
      if (!file.type.startsWith("image/")) continue;
      if (pictures.length === MOST) {
        complain(`A message has ${MOST} pictures at most.`);
        break;
      }
      try {
        pictures.push(await shrunk(file));
      } catch {
        complain(`${file.name} is not a picture that this browser can read.`);
      }
    }
    show();
  }

  choose.addEventListener("click", () => picker.click());
  picker.addEventListener("change", async () => {
    await add(picker.files);
    picker.value = "";
  });
  input.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) {
      event.preventDefault();
      add(event.clipboardData.files);
    }
  });
  target.addEventListener("dragover", (event) => event.preventDefault());
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    add(event.dataTransfer.files);
  });
  show();
  return {
    get any() {
      return pictures.length > 0;
    },
    /** Return the pictures as data URLs, and forget them. */
    take() {
      const taken = pictures;
      pictures = [];
      show();
      return taken;
    },
  };
}

/** Return a picture as a data URL, with no side longer than LARGEST_SIDE. */
async function shrunk(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LARGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const kind = file.type === "image/jpeg" ? "image/jpeg" : "image/png";
  return canvas.toDataURL(kind, 0.9);
}
