// What is watched in a dataset, how it stands, and who is told; a channel can be tried by an administrator.

import { datasetPath, get, post, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { ago, moment, parse } from "../base/format.js";
import { factTable } from "../base/table.js";
import { alertMeaning, alertName, measured } from "./alert-words.js";

const HEADS = [["What is watched"], ["State"], ["Since"], ["Now", "number"], ["Limit", "number"], ["Who is told"]];
const STATES = { firing: "firing", pending: "about to fire", ok: "in order", unknown: "not known" };
const ORDER = ["firing", "pending", "unknown", "ok"];
const SAMPLE = `alerts:
  - {on: dead_letters, to: ops}
  - {on: staleness, above: 2h, to: ops}`;

export class AlertsTab {
  constructor(view) {
    Object.assign(this, { view, shown: null });
    this.said = el("div", { "aria-live": "polite" });
    this.body = el("div", { id: "alerts" }, note("Loading…"));
    this.root = el("section", { class: "card", "aria-label": "Alerts" }, this.said, this.body);
  }

  // An alert may turn without anything landing, so each look asks.
  async look() {
    try {
      const found = await get(datasetPath(this.view.dataset.name, "/alerts"));
      const text = JSON.stringify(found);
      if (text === this.shown) return;
      this.shown = text;
      this.draw(found);
    } catch (error) {
      this.shown = null;
      show(this.body, note(words(error), "error"));
    }
  }

  draw({ alerts, retired }) {
    if (retired) return show(this.body, note("It is retired: nobody looks at its alerts."));
    if (!alerts.length) return show(this.body, howTo());
    const sorted = alerts.toSorted((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
    const focused = document.activeElement?.dataset?.channel;
    show(
      this.body,
      factTable(
        "Alerts",
        HEADS,
        sorted.map((one) => this.row(one)),
      ),
    );
    if (focused) [...this.body.querySelectorAll("button")].find((one) => one.dataset.channel === focused)?.focus();
    return undefined;
  }

  row(one) {
    const since = parse(one.since);
    const changed = since === null ? "–" : el("span", { title: moment(Math.floor(since / 1000) * 1000) }, ago(since));
    const why = one.alert === "paused" && one.state === "firing" ? sentence(one.summary ?? "") : "";
    const about = el("span", { class: "alert-about" }, why || alertMeaning(one.alert));
    return [
      el("span", { class: "alert-what" }, el("span", { class: "alert-name" }, alertName(one.alert)), about),
      state(one),
      changed,
      measured(one.alert, one.value),
      one.above === null ? "–" : measured(one.alert, one.above),
      el(
        "span",
        { class: "channels" },
        one.to.map((name) => this.channel(name, one)),
      ),
    ];
  }

  channel(name, { alert }) {
    const text = el("code", {}, name);
    if (!this.view.session?.isAdmin) return el("span", { class: "channel" }, text);
    const button = el(
      "button",
      { type: "button", class: "plain", "aria-label": `Test channel ${name}`, "data-channel": `${alert} ${name}` },
      "Test",
    );
    button.addEventListener("click", () => this.test(name, button));
    return el("span", { class: "channel" }, text, button);
  }

  async test(name, button) {
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    show(this.said, note(`A test message goes to ${name}…`));
    try {
      await post(`/admin/alerts/channels/${encodeURIComponent(name)}/test`, {});
      show(this.said, note(`${name} has taken a test message.`, "good"));
    } catch (error) {
      show(this.said, note(words(error), "error"));
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }
}

function state({ state: name, alert }) {
  if (alert === "schema") return el("span", { class: "alert-state" }, "tells each change");
  return el("span", { class: `alert-state ${name}` }, STATES[name] ?? name);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function howTo() {
  return el(
    "div",
    { class: "how" },
    note("No alert is declared. Its declaration says what is watched and who is told:"),
    el("pre", { tabindex: 0 }, el("code", {}, SAMPLE)),
  );
}
