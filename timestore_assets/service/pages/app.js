// The page: which dataset is looked at, and keeping what is shown up to date.

import { datasetPath, get, token, words } from "./api.js";
import { datasetList } from "./datasets.js";
import { el, note, show } from "./dom.js";
import { go, read } from "./route.js";
import { tipOf } from "./tip.js";
import { DatasetView } from "./view.js";

const REFRESH_MS = 15_000;
// The other datasets are looked at less often: each look may ask a broker.
const LIST_MS = 60_000;
const STATUSES_AT_ONCE = 4;

const main = document.getElementById("main");
const field = document.getElementById("token");
const tip = tipOf(document.getElementById("tip"));
const list = datasetList({ list: document.getElementById("datasets"), search: document.getElementById("search") });

let datasets = [];
let listedAt = 0;
let current = null;

const welcome = (title, text) => el("section", { class: "welcome" }, el("h1", {}, title), el("p", {}, text));

function close() {
  current?.close();
  current = null;
  tip.hide();
}

function instead(...parts) {
  close();
  show(main, parts);
}

async function loadList() {
  try {
    datasets = (await get("/datasets")).datasets;
    listedAt = Date.now();
    list.load(datasets);
    return true;
  } catch (error) {
    datasets = [];
    list.say(words(error));
    if (error.status === 401) askForToken();
    else instead(note(words(error), "error"));
    return false;
  }
}

function askForToken() {
  const text = "Enter one at the top of the page. It stays in this tab and is forgotten when you close it.";
  instead(welcome("This service asks for a token", text));
  field.focus();
}

async function loadStatuses() {
  const waiting = datasets.filter((one) => one.readable).map((one) => one.name);
  const found = new Map();
  const work = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const status = await get(datasetPath(name, "/status")).catch(() => null);
      if (status) found.set(name, status);
    }
  };
  await Promise.all(Array.from({ length: STATUSES_AT_ONCE }, work));
  list.status(found);
}

// Show what the address names.
async function follow() {
  const name = read().dataset;
  const dataset = datasets.find((one) => one.name === name);
  document.body.classList.toggle("chosen", Boolean(name));
  document.title = dataset ? `${name} · timestore` : "timestore";
  list.choose(name);
  if (!name) return start();
  if (!dataset) return instead(note(`There is no dataset “${name}” that is open to you.`, "error"));
  if (!dataset.readable) return instead(welcome(name, "Your token may send records to this dataset, and not read it."));
  if (current?.dataset.name === name) return current.look();
  close();
  current = new DatasetView(dataset, tip);
  show(main, current.parts);
  return refresh(current);
}

async function refresh(view) {
  try {
    await view.refresh();
  } catch (error) {
    view.say(words(error));
  }
}

// Where there is room for both, the list comes with the fullest dataset.
function start() {
  if (!datasets.length) {
    return instead(welcome("Nothing here yet", "Declare a dataset and land some records; it appears here by itself."));
  }
  if (!matchMedia("(min-width: 60rem)").matches) return instead();
  const fullest = datasets.reduce((most, one) => ((one.rows ?? -1) > (most.rows ?? -1) ? one : most));
  return go({ dataset: fullest.name, from: null, to: null }, { replace: true });
}

async function again() {
  if (document.hidden) return;
  if (Date.now() - listedAt > LIST_MS) {
    const known = datasets.length;
    if (!(await loadList())) return;
    if (!known) await follow();
    await loadStatuses();
  }
  if (current) await refresh(current);
}

async function begin() {
  close();
  if (!(await loadList())) return;
  await follow();
  await loadStatuses();
}

field.value = token.get();
document.getElementById("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(field.value.trim());
  begin();
});
addEventListener("popstate", follow);
document.addEventListener("visibilitychange", again);
setInterval(again, REFRESH_MS);
begin();
