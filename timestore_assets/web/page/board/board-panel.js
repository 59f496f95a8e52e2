// One panel of a board: a chart that says which dataset it is of.

import { datasetPath, get } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { unitsOf } from "../chart/figures.js";
import { ChartPanel } from "../chart/panel.js";
import { allPartitions } from "../dataset/all-partitions.js";
import { groupColumns, drawnColumns } from "../dataset/choices.js";
import { address } from "../frame/route.js";

export class BoardPanel {
  // `dataset`: with its columns. `changed(panel)`: what it shall be now, null when it is to go.
  constructor({ dataset, number, tip, changed, zoomed, out }) {
    Object.assign(this, { dataset, columns: drawnColumns(dataset), panel: null, asked: null });
    this.chart = new ChartPanel({ number, tip, changed, zoomed, out });
    this.by = el("select", { id: `by-${number}`, onchange: () => changed({ ...this.panel, by: this.by.value }) });
    const groups = groupColumns(dataset);
    show(this.by, [el("option", { value: "" }, "no column"), ...groups.map((name) => el("option", { value: name }, name))]);
    const field = el("label", { class: "field" }, el("span", {}, "by"), this.by);
    field.hidden = !groups.length;
    this.chart.head.bandField.before(field);
    this.title = el("a", {}, dataset.name);
    this.chart.root.prepend(el("div", { class: "panel-title" }, el("h2", {}, this.title), this.chart.head.away));
    this.chart.root.classList.add("card");
    this.root = this.chart.root;
  }

  // `seen`: { from, to, every } of the board. `source`: the `BoardSource` of the dataset.
  look(panel, seen, { partitions, version }) {
    const question = JSON.stringify({ panel, seen, version });
    this.panel = panel;
    const { from, to, every } = seen;
    const { dataset, by } = panel;
    this.title.setAttribute("href", address({ dataset, tab: "chart", from, to, every, by, panels: [panel] }));
    this.by.value = by;
    if (question === this.asked) return undefined;
    this.asked = question;
    this.chart.head.load(panel, this.columns, { removable: true });
    if (from === null || !partitions.length) return this.without();
    const shared = { time: this.dataset.time, filters: [], ...seen };
    return this.chart.load({ ...shared, ...panel, ...unitsOf(panel, this.columns), partitions });
  }

  without() {
    this.chart.stage.dataset.state = "empty";
    this.chart.say(note("There is nothing to draw yet: no rows have landed."));
  }

  close() {
    this.chart.close();
  }
}

// What the panels of a dataset draw from, asked again when its version is another one.
export class BoardSource {
  constructor(name) {
    Object.assign(this, { name, version: null, partitions: [] });
  }

  async refresh() {
    const { manifestVersion } = await get(datasetPath(this.name, "/status"));
    if (manifestVersion === this.version) return;
    this.partitions = await allPartitions(this.name);
    this.version = manifestVersion;
  }
}
