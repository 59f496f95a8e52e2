// Who looks: a token is asked for when the service wants one, and the reader comes back to where they were.

import { get, sentence, token } from "../base/api.js";
import { el, show } from "../base/dom.js";
import { forgetAll } from "../base/memory.js";

// `entered()`: a token was given.
export function signInCard(why, entered) {
  const field = el("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = el(
    "form",
    { class: "sign-in", onsubmit: (event) => [event.preventDefault(), token.set(field.value.trim()), entered()] },
    el("label", { for: "token" }, "Token"),
    field,
    el("button", { type: "submit", class: "primary" }, "Sign in"),
  );
  const hint = [
    "One of ",
    el("code", {}, "timestore tokens create"),
    ", or a JSON Web Token. It stays in this tab and is forgotten when you close it.",
  ];
  const error = why && token.get() ? el("p", { class: "note error", role: "alert" }, sentence(why)) : null;
  const card = el("section", { class: "welcome" }, el("h1", {}, "This service asks for a token"), error, form, el("p", {}, hint));
  return { card, focus: () => field.focus() };
}

// Who is signed in, at the top of the page, and links that only the service knows.
export async function showSession(parent, links, left) {
  const session = await get("/session");
  const out = () => [token.set(""), forgetAll(), left()];
  const leave = token.get() ? el("button", { type: "button", class: "plain", onclick: out }, "Sign out") : null;
  show(
    parent,
    token.get() ? el("span", { class: "who", title: session.isAdmin ? "administrator" : null }, session.caller) : null,
    leave,
  );
  const dagster = session.dagsterUrl ? el("a", { href: session.dagsterUrl, target: "_blank", rel: "noopener" }, "Dagster") : null;
  show(links, dagster);
  return session;
}
