// How often the page looks for what is new.

import { el } from "../base/dom.js";
import { recall, remember } from "../base/memory.js";

const PACES = [
  [0, "off"],
  [10, "10 s"],
  [60, "1 min"],
];
const USUAL = 10;

// `look()`: looks once.
export function refreshing(look) {
  let timer = null;
  const known = recall("refresh");
  const start = PACES.some(([seconds]) => seconds === known) ? known : USUAL;
  const choice = el(
    "select",
    { id: "refresh", onchange: () => [remember("refresh", Number(choice.value)), begin()] },
    PACES.map(([seconds, label]) => el("option", { value: seconds, selected: seconds === start }, label)),
  );

  function begin() {
    clearInterval(timer);
    const seconds = Number(choice.value);
    if (seconds) timer = setInterval(look, seconds * 1000);
  }

  begin();
  return { root: el("label", { class: "field" }, el("span", {}, "Refresh"), choice) };
}
