// One dataset as it is looked at: its figures, and one tab of what can be seen of it.

import { datasetPath, get, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { count } from "../base/format.js";
import { filterBar } from "../filters/bar.js";
import { resolved } from "../frame/ranges.js";
import { address, go, read } from "../frame/route.js";
import { timePicker } from "../frame/timepicker.js";
import { RowsTab } from "../rows/rows-tab.js";
import { AlertsTab } from "./alerts-tab.js";
import { allPartitions } from "./all-partitions.js";
import { openBackfills } from "./backfills-panel.js";
import { ChartTab } from "./chart-tab.js";
import { firstRange, wholeRange } from "./choices.js";
import { feeding } from "./feeding.js";
import { LettersTab } from "./letters-tab.js";
import { PartitionsTab } from "./partitions-tab.js";
import { SchemaTab } from "./schema-tab.js";
import { SourcesTab } from "./sources-tab.js";
import { tiles, totals } from "./tiles.js";

const TABS = [
  ["chart", "Chart", ChartTab],
  ["rows", "Rows", RowsTab],
  ["schema", "Schema", SchemaTab],
  ["partitions", "Partitions", PartitionsTab],
  ["sources", "Sources", SourcesTab],
  ["alerts", "Alerts", AlertsTab],
  ["deadletters", "Dead letters", LettersTab],
];
const RETIRED = "Retired: nothing lands in it any more; what it has can be read.";
// Tabs whose content depends on the chosen range and filters.
const RANGED = new Set(["chart", "rows"]);

// Records that wait for somebody: refused ones, and those that are held for being late.
function waiting(status) {
  const { deadLetters, held } = totals(status);
  return deadLetters + held;
}

export class DatasetView {
  constructor(dataset, { tip, session }) {
    Object.assign(this, { dataset, tip, session, partitions: [], backfills: [], status: null, version: null, closed: false });
    Object.assign(this, { range: { from: null, to: null }, tabs: new Map(), tab: "", known: false });
    this.state = el("div", { id: "state" }, note("Loading…"));
    this.numbers = el("div", { id: "tiles" });
    this.picker = timePicker((part) => go({ ...read(), ...part }));
    this.filters = filterBar(dataset, (filters) => go({ ...read(), filters }));
    this.links = el("nav", { class: "tabs", "aria-label": "Views of the dataset" });
    this.toolbar = el("div", { class: "toolbar" }, this.picker.root, this.filters.root);
    this.body = el("div", { id: "tab" });
    const about = dataset.description ? el("p", {}, dataset.description) : null;
    this.retired = el("div", { class: "retired-note", hidden: true }, RETIRED);
    const head = el("header", { class: "head" }, el("h1", {}, dataset.name), this.retired, about);
    const back = el("a", { class: "back", href: "#/" }, "← All datasets");
    this.toolbar.hidden = true;
    this.told(dataset);
    this.parts = [back, head, this.state, this.numbers, this.links, this.toolbar, this.body];
  }

  close() {
    this.closed = true;
    for (const one of this.tabs.values()) one.close?.();
  }

  // What the list says of it by now.
  told({ firing, retired }) {
    Object.assign(this.dataset, { firing, retired });
    this.retired.hidden = !retired;
    this.showLinks(read());
  }

  say(text) {
    show(this.state, note(text, "error"));
  }

  // Asks how the dataset stands, and shows the tab anew where something is new.
  async refresh() {
    const { name } = this.dataset;
    const first = this.known ? null : allPartitions(name);
    const [status, backfills] = await Promise.all([get(datasetPath(name, "/status")), openBackfills(name)]);
    const changed = this.version !== status.manifestVersion;
    const partitions = first ? await first : changed ? await allPartitions(name) : this.partitions;
    if (this.closed) return;
    const told = this.status === null || changed || waiting(status) !== waiting(this.status);
    Object.assign(this, { partitions, backfills, status, version: status.manifestVersion, known: true });
    show(this.state);
    this.dataset.retired = status.retired;
    this.retired.hidden = !status.retired;
    const hint = partitions.length || status.retired ? null : feeding(this.dataset, this.session);
    show(this.numbers, tiles(this.dataset, status, partitions), hint);
    await this.look({ changed: told });
  }

  // Shows what the address says.
  look({ changed = false } = {}) {
    const route = read();
    this.showLinks(route);
    if (!this.known) return undefined;
    const whole = wholeRange(this.partitions);
    this.range = resolved(route, { whole, first: firstRange(this.partitions) });
    this.picker.load(this.range, route.last);
    this.filters.load(route.filters);
    this.toolbar.hidden = !RANGED.has(route.tab);
    this.numbers.classList.toggle("secondary", route.tab !== "chart");
    const switched = this.tab !== route.tab;
    if (switched) {
      this.tab = route.tab;
      if (!this.tabs.has(route.tab)) this.tabs.set(route.tab, new (TABS.find(([name]) => name === route.tab)[2])(this));
      show(this.body, this.tabs.get(route.tab).root);
    }
    return this.tabs.get(route.tab).look({ changed: changed || switched });
  }

  showLinks(route = read()) {
    const asked = this.backfills.filter((one) => one.state === "asked").length;
    const firing = this.dataset.firing.length;
    const letters = this.status ? waiting(this.status) : 0;
    const link = ([tab, label]) =>
      el(
        "a",
        { href: address({ ...route, tab }), "aria-current": tab === route.tab ? "page" : null, "data-tab": tab },
        label,
        tab === "partitions" && asked ? el("span", { class: "badge warn" }, count(asked)) : null,
        tab === "deadletters" && letters ? el("span", { class: "badge warn" }, count(letters)) : null,
        tab === "alerts" && firing ? el("span", { class: "badge bad" }, `▲ ${count(firing)}`) : null,
      );
    const focused = document.activeElement?.dataset?.tab;
    show(this.links, TABS.map(link));
    if (focused) this.links.querySelector(`[data-tab="${focused}"]`)?.focus();
    const chosen = this.links.querySelector("[aria-current]");
    if (chosen) this.links.scrollLeft = chosen.offsetLeft + chosen.offsetWidth - this.links.clientWidth;
  }

  failed(error) {
    this.say(words(error));
  }
}
