// The panels of a board: how they stand in an address, and which of them make sense for the datasets that are there.

import { groupColumns, drawnColumns, panelsFor } from "../dataset/choices.js";

export const MOST_PANELS = 8;

// DATASET:FIGURE:COLUMN,…:BY
export function writePanel({ dataset, fn, columns, by }) {
  const parts = [encodeURIComponent(dataset), fn, columns.map(encodeURIComponent).join(",")];
  return [...parts, ...(by ? [encodeURIComponent(by)] : [])].join(":");
}

export function readPanel(text) {
  const [dataset, fn = "", columns = "", by = ""] = text.split(":");
  try {
    return {
      dataset: decodeURIComponent(dataset),
      fn,
      columns: columns.split(",").filter(Boolean).map(decodeURIComponent),
      by: decodeURIComponent(by),
    };
  } catch {
    return null;
  }
}

// A panel with columns and a figure that its dataset has.
export function usable(panel, dataset) {
  const columns = drawnColumns(dataset);
  const [fitting] = panelsFor(dataset, columns, [panel], null);
  const by = groupColumns(dataset).includes(panel.by) ? panel.by : "";
  return { ...fitting, dataset: dataset.name, by };
}

// Panels after those that are there, none twice.
export function joined(before, added) {
  const found = new Map([...before, ...added].map((one) => [writePanel(one), one]));
  return [...found.values()].slice(-MOST_PANELS);
}
