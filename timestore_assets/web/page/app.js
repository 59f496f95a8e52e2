// The page: which view the address names, and keeping what is shown up to date.

import { get, words } from "./base/api.js";
import { el, note, show } from "./base/dom.js";
import { tipOf } from "./base/tip.js";
import { BoardView } from "./board/board-view.js";
import { DatasetView } from "./dataset/view.js";
import { refreshing } from "./frame/refresh.js";
import { go, read } from "./frame/route.js";
import { datasetList } from "./frame/sidebar.js";
import { showSession, signInCard } from "./frame/signin.js";
import { SqlView } from "./sql/sql-view.js";
import { UploadView } from "./upload/upload-view.js";

// The other datasets are looked at less often.
const LIST_MS = 60_000;

const byId = (id) => document.getElementById(id);
const main = byId("main");
const tip = tipOf(byId("tip"));
const list = datasetList({ list: byId("datasets"), search: byId("search") });

let datasets = [];
let session = null;
let listedAt = 0;
let current = null;
let locked = false;

const readable = () => datasets.filter((one) => one.readable);

function close() {
  current?.close();
  current = null;
  tip.hide();
}

function instead(...parts) {
  close();
  show(main, parts);
}

const welcome = (title, ...text) => el("section", { class: "welcome" }, el("h1", {}, title), el("p", {}, text));

async function loadList() {
  try {
    datasets = (await get("/datasets")).datasets;
    listedAt = Date.now();
    list.load(datasets);
    return true;
  } catch (error) {
    if (error.status === 401) return false;
    datasets = [];
    list.say(words(error));
    instead(note(words(error), "error"));
    return false;
  }
}

// The address stays as it is, so that signing in leads back to it.
function askForToken(why) {
  if (locked) return;
  locked = true;
  list.clear();
  show(byId("session"));
  document.body.classList.add("chosen");
  const asked = signInCard(why, begin);
  instead(asked.card);
  asked.focus();
}

// Show what the address names.
async function follow() {
  if (locked) return undefined;
  const route = read();
  document.body.classList.toggle("chosen", route.view !== "home");
  for (const one of document.querySelectorAll(".bar-links [data-view]")) {
    if (one.dataset.view === route.view) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  list.choose(route.dataset ?? "");
  tip.hide();
  if (route.view === "sql") return followSql(route);
  if (route.view === "upload") return followUpload();
  if (route.view === "board") return followBoard();
  const dataset = datasets.find((one) => one.name === route.dataset);
  document.title = dataset ? `${dataset.name} · timestore` : "timestore";
  if (!route.dataset) return start();
  if (!dataset) return instead(note(`There is no dataset “${route.dataset}” that is open to you.`, "error"));
  if (!dataset.readable) return instead(welcome(dataset.name, "Your token may send records to this dataset, and not read it."));
  if (current?.dataset?.name === dataset.name) return current.look();
  return open(new DatasetView(dataset, { tip, session }), refresh);
}

function followSql(route) {
  document.title = `${route.saved || "SQL"} · timestore`;
  if (current instanceof SqlView) return current.look();
  return open(new SqlView({ datasets: readable, session, tip }), (view) => view.open());
}

function followBoard() {
  document.title = "Board · timestore";
  if (current instanceof BoardView) return current.look();
  return open(new BoardView({ datasets: readable, tip }), refresh);
}

function followUpload() {
  document.title = "Upload · timestore";
  if (current instanceof UploadView) return undefined;
  return open(new UploadView({ datasets: () => datasets, session, declared: loadList }), () => {});
}

function open(view, begun) {
  close();
  current = view;
  show(main, view.parts);
  scrollTo(0, 0);
  return begun(view);
}

async function refresh(view) {
  try {
    await view.refresh?.();
  } catch (error) {
    if (error.status !== 401) view.failed(error);
  }
}

// Where there is room for both, the list comes with the fullest dataset.
function start() {
  if (!datasets.length) {
    const how = [
      "Declare a dataset with ",
      el("code", {}, "timestore init FILE"),
      ", or ",
      el("a", { href: "#upload" }, "upload a file"),
      "; it appears here by itself.",
    ];
    return instead(welcome("Nothing here yet", ...how));
  }
  if (!matchMedia("(min-width: 60rem)").matches) return instead();
  const fullest = datasets.reduce((most, one) => ((one.rows ?? -1) > (most.rows ?? -1) ? one : most));
  return go({ dataset: fullest.name }, { replace: true });
}

// Whether a dataset that is shown has other columns by now.
function isOther(shown) {
  const now = shown && datasets.find((one) => one.name === shown.name);
  const names = (one) => one.columns.map((column) => `${column.name} ${column.type}`).join();
  return Boolean(now) && names(now) !== names(shown);
}

async function again() {
  if (document.hidden || locked) return;
  if (Date.now() - listedAt > LIST_MS) {
    const known = datasets.length;
    if (!(await loadList())) return;
    if (!known || isOther(current?.dataset)) {
      close();
      await follow();
    }
    const now = current instanceof DatasetView && datasets.find((one) => one.name === current.dataset.name);
    if (now) current.told(now);
  }
  if (current) await refresh(current);
}

async function begin() {
  locked = false;
  close();
  show(main, note("Loading…"));
  if (!(await loadList())) return;
  session = await showSession(byId("session"), byId("own-links"), begin).catch(() => null);
  byId("upload-link").hidden = !session?.isAdmin;
  await follow();
}

byId("pace").append(refreshing(again).root);
addEventListener("unauthorized", (event) => askForToken(event.detail));
addEventListener("popstate", follow);
document.addEventListener("visibilitychange", again);
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  event.preventDefault();
  byId("search").focus();
});
// Its address would be taken for one of the page's own.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
begin();
