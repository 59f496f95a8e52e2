// What to do about a dataset without rows: how its declared sources can be fed, in lines to copy.

import { el } from "../base/dom.js";

const SAMPLES = { timestamp: "2024-01-01T00:00:00Z", date: "2024-01-01", string: "text", bool: true };

export function feeding(dataset, session) {
  const ways = dataset.sources.map((one) => way(one, dataset, session)).filter(Boolean);
  return el(
    "section",
    { class: "card feeding", "aria-label": "How to fill it" },
    el("h2", {}, "No rows have landed yet"),
    ways.length ? el("ul", { class: "ways" }, ways) : el("p", {}, "It has no source: add one to its declaration."),
  );
}

function way(source, dataset, session) {
  if (source.kind === "files") {
    const folder = source.address.replace(/[^/]*[*?[{].*$/, "");
    const whole = /^(\/|[a-z0-9]+:\/\/)/.test(folder) || !session?.home ? folder : `${session.home}/${folder}`;
    const lines = `timestore land ${dataset.name} FILE`;
    return el(
      "li",
      {},
      "Drop a file into ",
      el("code", {}, whole),
      ", which is watched while Dagster runs; or land one at once:",
      code(lines),
    );
  }
  if (source.kind === "kafka")
    return el(
      "li",
      {},
      "Send records to the topic ",
      el("code", {}, source.address),
      "; ",
      el("code", {}, `timestore stream ${dataset.name}`),
      " reads it now.",
    );
  const record = Object.fromEntries(dataset.columns.map((one) => [one.name, sample(one.type)]));
  const body = JSON.stringify({ records: [record] }).replaceAll("'", "’");
  const line = `curl ${location.origin}/datasets/${dataset.name}/ingest -H 'content-type: application/json' -d '${body}'`;
  return el("li", {}, "Send it a record over HTTP:", code(line));
}

const sample = (type) => SAMPLES[type] ?? (/^(int|float|double|decimal)/.test(type) ? 1 : null);

function code(text) {
  const copy = el("button", { type: "button", class: "plain", onclick: () => copied(copy, text) }, "Copy");
  return el("div", { class: "code-line" }, el("pre", { tabindex: 0 }, el("code", {}, text)), copy);
}

async function copied(button, text) {
  await navigator.clipboard?.writeText(text);
  button.textContent = "Copied";
}
