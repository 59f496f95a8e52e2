// Where partitions stand in the calendar. Days are months of weeks, hours days of 24, weeks and months years, years decades.

import { DAY, HOUR, MONTHS, day } from "../base/format.js";

const WEEK = 7 * DAY;
const year = (ms) => new Date(ms).getUTCFullYear();
const month = (ms) => new Date(ms).getUTCMonth();
// 0 is Monday.
const weekday = (ms) => (new Date(ms).getUTCDay() + 6) % 7;
// An ISO week belongs to the year of its Thursday.
const thursday = (ms) => ms + 3 * DAY;
const hourMarks = Array.from({ length: 24 }, (_, hour) => (hour % 6 ? "" : String(hour).padStart(2, "0")));

// `block`: the block that a partition, by its start, is in. `place`: its row and column there, from 1. `heads`: labels of the
// columns in each block; `marks`: above all of them. `perPage`: blocks shown at a time. `wide`: a block is a line of its own.
const LAYOUTS = {
  day: {
    columns: 7,
    perPage: 24,
    heads: ["M", "T", "W", "T", "F", "S", "S"],
    block: (ms) => Date.UTC(year(ms), month(ms), 1),
    title: (ms) => `${MONTHS[month(ms)]} ${year(ms)}`,
    place: (ms, block) => [Math.floor((weekday(block) + new Date(ms).getUTCDate() - 1) / 7) + 1, weekday(ms) + 1],
  },
  hour: {
    columns: 24,
    perPage: 31,
    wide: true,
    heads: [],
    marks: hourMarks,
    block: (ms) => Math.floor(ms / DAY) * DAY,
    title: day,
    place: (ms, block) => [1, (ms - block) / HOUR + 1],
  },
  week: {
    columns: 53,
    perPage: 12,
    wide: true,
    heads: [],
    block: (ms) => Date.UTC(year(thursday(ms)), 0, 1),
    title: (ms) => String(year(ms)),
    place: (ms, block) => [1, Math.floor((thursday(ms) - block) / WEEK) + 1],
  },
  month: {
    columns: 12,
    perPage: 24,
    wide: true,
    heads: [],
    marks: MONTHS,
    block: (ms) => Date.UTC(year(ms), 0, 1),
    title: (ms) => String(year(ms)),
    place: (ms) => [1, month(ms) + 1],
  },
  all: { columns: 1, perPage: 1, wide: true, heads: [], block: () => 0, title: () => "Everything", place: () => [1, 1] },
  year: {
    columns: 10,
    perPage: 24,
    wide: true,
    heads: [],
    marks: Array.from({ length: 10 }, (_, digit) => String(digit)),
    block: (ms) => Date.UTC(Math.floor(year(ms) / 10) * 10, 0, 1),
    title: (ms) => `${year(ms)}s`,
    place: (ms) => [1, (year(ms) % 10) + 1],
  },
};

export const layoutOf = (window) => LAYOUTS[window] ?? LAYOUTS.day;
