// Saving an answer as a file: asked anew in the wanted format, whole, and handed to the browser.

import { actions } from "./menu.js";

export const FORMATS = [
  { label: "CSV", ending: "csv", accept: "text/csv" },
  { label: "CSV for spreadsheets", ending: "csv", accept: "text/csv", query: "?formulas=escape" },
  { label: "Parquet", ending: "parquet", accept: "application/vnd.apache.parquet" },
  { label: "JSON lines", ending: "jsonl", accept: "application/x-ndjson" },
];

// `ask(format)`: resolves to the answer's blob. `said(error)`: told when it could not be had.
export function downloads(name, ask, said) {
  const save = async (format) => {
    made.label("Downloading…");
    try {
      keep(await ask(format), `${name()}.${format.ending}`);
    } catch (error) {
      said(error);
    } finally {
      made.label("Download");
    }
  };
  const made = actions(
    "Download",
    FORMATS.map((format) => [format.label, () => save(format)]),
  );
  return made;
}

function keep(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
