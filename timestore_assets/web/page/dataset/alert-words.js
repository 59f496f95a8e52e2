// Alerts in words: what is watched, and what was measured.

import { HOUR, MINUTE, count } from "../base/format.js";

const KINDS = {
  dead_letters: ["Dead letters", "Records that were refused and not replayed"],
  lag: ["Lag", "Records of its topics that are not read yet"],
  staleness: ["Staleness", "Age of the newest row"],
  paused: ["Paused", "Landing from a source is paused"],
  quarantine: ["Quarantine", "Files that can’t be read"],
  schema: ["Schema", "Columns were added, widened or declared anew"],
};

export const alertName = (kind) => KINDS[kind]?.[0] ?? kind;
export const alertMeaning = (kind) => KINDS[kind]?.[1] ?? "";

// A measured value, or a limit, as people read it; null is unknown or there is none.
export function measured(kind, value) {
  if (value === null || value === undefined) return "–";
  const number = Number(value);
  if (kind === "schema") return `version ${count(number)}`;
  if (kind === "paused") return number ? "paused" : "no";
  return kind === "staleness" ? span(number * 1000) : count(number);
}

// A length of time, in the unit that says it in few digits.
export function span(ms) {
  if (ms < MINUTE) return `${Math.round(ms / 1000)} s`;
  if (ms < 2 * HOUR && ms % HOUR) return `${Math.round(ms / MINUTE)} min`;
  if (ms < 48 * HOUR) return `${Math.round(ms / HOUR)} h`;
  return `${count(Math.floor(ms / (24 * HOUR)))} days`;
}
