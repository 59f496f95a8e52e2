// The list of datasets: what each holds and whether something is wrong with it, at a glance.

import { el, note, show } from "../base/dom.js";
import { ago, compact, parse, plural } from "../base/format.js";
import { recall, remember } from "../base/memory.js";
import { alertName } from "../dataset/alert-words.js";
import { address } from "./route.js";

// So many datasets with the same beginning of their names make a group.
const A_GROUP = 3;
const natural = new Intl.Collator("en", { numeric: true });

export function datasetList({ list, search }) {
  let datasets = [];
  let chosen = "";
  const closed = new Set(recall("groups") ?? []);

  search.addEventListener("input", redraw);
  search.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "Enter") return;
    event.preventDefault();
    list.querySelector("a")?.[event.key === "Enter" ? "click" : "focus"]();
  });
  list.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll("a, summary")].filter((one) => one.checkVisibility());
    const at = links.indexOf(document.activeElement);
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (at < 0 || !by) return;
    event.preventDefault();
    if (at + by < 0) search.focus();
    else links[Math.min(links.length - 1, at + by)].focus();
  });

  function redraw() {
    const words = search.value.trim().toLowerCase();
    const found = datasets.filter((one) => `${one.name} ${one.description ?? ""}`.toLowerCase().includes(words));
    if (!datasets.length) return show(list, note("No dataset is open to you here."));
    if (!found.length) return show(list, note(`No dataset matches “${search.value.trim()}”.`));
    const focused = document.activeElement?.dataset?.name;
    show(
      list,
      grouped(found).map((one) => (one.items.length < A_GROUP ? plain(one.items) : group(one, words !== ""))),
    );
    if (focused) [...list.querySelectorAll("a")].find((one) => one.dataset.name === focused)?.focus({ preventScroll: true });
    return undefined;
  }

  const plain = (items) => el("ul", { class: "datasets" }, items.map(item));

  function group({ name, items }, searching) {
    const holds = items.some((one) => one.name === chosen);
    const firing = items.reduce((sum, one) => sum + one.firing.length, 0);
    const head = el(
      "summary",
      {},
      el("span", { class: "group-name" }, name),
      firing ? el("span", { class: "badge bad group-alerts" }, `▲ ${plural(firing, "alert")}`) : null,
      el("span", { class: "group-count" }, String(items.length)),
    );
    const made = el("details", { class: "group", open: searching || holds || !closed.has(name) }, head, plain(items));
    made.addEventListener("toggle", () => {
      if (searching) return;
      if (made.open) closed.delete(name);
      else closed.add(name);
      remember("groups", [...closed]);
    });
    return made;
  }

  function item(one) {
    const link = {
      class: "dataset",
      href: address({ dataset: one.name }),
      "data-name": one.name,
      "aria-current": one.name === chosen ? "page" : null,
    };
    return el("li", {}, el("a", link, el("span", { class: "dataset-name" }, breakable(one.name)), facts(one), badges(one)));
  }

  // Scrolls the list alone: the page beside it stays where it is.
  function reveal() {
    const link = list.querySelector("[aria-current]");
    if (!link || list.scrollHeight <= list.clientHeight) return;
    const [box, frame] = [link.getBoundingClientRect(), list.getBoundingClientRect()];
    if (box.top >= frame.top && box.bottom <= frame.bottom) return;
    list.scrollTop += box.top - frame.top - (frame.height - box.height) / 2;
  }

  return {
    load: (found) => [(datasets = found.toSorted((a, b) => natural.compare(a.name, b.name))), redraw(), reveal()],
    choose: (name) => {
      if (name === chosen) return;
      chosen = name;
      redraw();
      reveal();
    },
    say: (words) => show(list, note(words, "error")),
    clear: () => [(datasets = []), show(list)],
  };
}

// Neighbours whose names begin alike, up to the first underscore.
export function grouped(datasets) {
  const prefix = (name) => (name.includes("_") ? name.slice(0, name.indexOf("_")) : name);
  const sizes = Map.groupBy(datasets, (one) => prefix(one.name));
  const found = [];
  for (const one of datasets) {
    const many = sizes.get(prefix(one.name)).length >= A_GROUP;
    const name = many ? prefix(one.name) : "";
    if (found.at(-1)?.name !== name || (!many && found.at(-1)?.name)) found.push({ name, items: [] });
    found.at(-1).items.push(one);
  }
  return found.flatMap((one) => (one.name ? [one] : one.items.map((single) => ({ name: "", items: [single] }))));
}

// A long name may go on in the next line behind an underscore, and nowhere else.
function breakable(name) {
  const parts = name.split(/(?<=[_-])/);
  return parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));
}

function facts(one) {
  const newest = parse(one.newest);
  const text = !one.readable ? "for writing only" : one.rows ? `${compact(one.rows)} rows` : "empty";
  return el("span", { class: "dataset-facts" }, newest ? `${text} · ${ago(newest)}` : text);
}

function badges({ firing, paused, retired, lag, deadLetters }) {
  const found = [];
  if (firing.length)
    found.push(
      el("span", { class: "badge bad", title: firing.map(alertName).join(", ") }, `▲ ${plural(firing.length, "alert")}`),
    );
  if (paused) found.push(el("span", { class: "badge bad" }, "paused"));
  if (retired) found.push(el("span", { class: "badge past" }, "retired"));
  if (lag) found.push(el("span", { class: "badge" }, `lag ${compact(lag)}`));
  if (deadLetters)
    found.push(el("span", { class: "badge warn" }, `${compact(deadLetters)} dead ${deadLetters === 1 ? "letter" : "letters"}`));
  return found.length ? el("span", { class: "badges" }, found) : null;
}
