// Logging in through a provider, where the gateway has one: the way in, who is in, and the way out.

import { byId, say } from "./dom.js";

/** Show who has logged in, and offer to log in beside giving a key. */
export async function startSession() {
  const button = byId("logout-button");
  button.addEventListener("click", async () => {
    await fetch("/logout", { method: "POST" }).catch(() => {});
    location.reload();
  });
  const session = await fetch("/api/session", { cache: "no-store" }).then((answer) => answer.json(), () => ({}));
  byId("login").hidden = !session.login;
  button.hidden = !session.user;
  if (!session.user) return;
  button.title = `Logged in as ${session.user}`;
  say(button, "Log out");
  button.setAttribute("aria-label", `Log out ${session.user}`);
}
