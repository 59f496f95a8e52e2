// A dataset's columns as they are stored, and every version of them.

import { datasetPath, get, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { moment, parse, plural } from "../base/format.js";
import { factTable } from "../base/table.js";

const COLUMNS = [["Column"], ["Type"], ["Null"], ["Unit"], ["Checks"], ["Description"]];
const VERSIONS = [["Version"], ["Since"], ["By"], ["Change"]];
const SIGNS = { ge: "≥", gt: ">", le: "≤", lt: "<" };

export class SchemaTab {
  constructor(view) {
    this.view = view;
    this.columns = el("div", { id: "columns" }, note("Loading…"));
    this.history = el("div", { id: "schema-history" });
    this.root = el(
      "div",
      { class: "stack" },
      el("section", { class: "card", "aria-label": "Columns" }, this.columns),
      el(
        "section",
        { class: "card", "aria-labelledby": "versions-title" },
        el("h2", { id: "versions-title" }, "Versions"),
        this.history,
      ),
    );
  }

  async look({ changed }) {
    if (!changed) return;
    try {
      const found = await get(datasetPath(this.view.dataset.name, "/schema"));
      show(
        this.columns,
        factTable(
          "Columns",
          COLUMNS,
          found.columns.map((one) => this.column(one)),
        ),
      );
      show(this.history, factTable("Versions of the schema", VERSIONS, found.history.map(version)));
    } catch (error) {
      show(this.columns, note(words(error), "error"));
    }
  }

  column(one) {
    const { time, keys, partitionBy } = this.view.dataset;
    const roles = [
      one.name === time ? "time" : "",
      keys.includes(one.name) ? "key" : "",
      partitionBy.includes(one.name) ? "partition" : "",
      one.origin === "inferred" ? "inferred" : "",
    ];
    const aliases = one.aliases?.length ? el("span", { class: "hint" }, ` also called ${one.aliases.join(", ")}`) : null;
    const badges = roles.filter(Boolean).map((role) => el("span", { class: "badge" }, role));
    return [
      el("span", { class: "named" }, el("code", {}, one.name), badges, aliases),
      one.type,
      one.nullable ? "yes" : "no",
      one.unit ?? "–",
      checks(one.checks),
      one.description ?? "–",
    ];
  }
}

function checks(found) {
  const parts = Object.entries(found ?? {}).map(([name, value]) =>
    SIGNS[name] ? `${SIGNS[name]} ${value}` : `${name} ${Array.isArray(value) ? value.join(", ") : value}`,
  );
  return parts.join(" · ") || "–";
}

function version(one) {
  const changes = one.changes.length
    ? one.changes.map((change) => el("div", {}, sentence(change)))
    : `${plural(one.columns, "column")} declared`;
  return [String(one.version), moment(Math.floor(parse(one.since) / 1000) * 1000), one.actor ?? "–", el("div", {}, changes)];
}

function sentence({ kind, column, before, after }) {
  if (kind === "column_added") return `${column} added as ${after}`;
  if (before && after) return `${column}: ${kind.replaceAll("_", " ")}, ${before} → ${after}`;
  return `${column}: ${kind.replaceAll("_", " ")}${after ? ` ${after}` : ""}`;
}
