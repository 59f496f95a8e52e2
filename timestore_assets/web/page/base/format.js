// Numbers, sizes and times as people read them. Times are UTC throughout.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export { DAY, HOUR, MINUTE, MONTHS };

export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
export const compact = (value) => (value < 10_000 ? whole.format(value) : short.format(value));

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let power = 0;
  while (value >= 1000 && power < units.length - 1) [value, power] = [value / 1000, power + 1];
  return `${value.toFixed(power && value < 100 ? 1 : 0)} ${units[power]}`;
}

// A value with about so many significant digits as differ within `step`.
export function figure(value, step = Math.abs(value) / 1000) {
  if (value === null || !Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1e9) return short.format(value);
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step || 1) - 1e-9)));
  return new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

const two = (number) => String(number).padStart(2, "0");

export function day(ms) {
  const at = new Date(ms);
  return `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
}

export function clock(ms, seconds = false) {
  const at = new Date(ms);
  const text = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  return seconds ? `${text}:${two(at.getUTCSeconds())}` : text;
}

// A moment, as exact as it has to be.
export function moment(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms % DAY === 0) return day(ms);
  if (ms % MINUTE === 0) return `${day(ms)}, ${clock(ms)}`;
  const fraction = ms % 1000 ? `.${String(Math.abs(ms % 1000)).padStart(3, "0")}` : "";
  return `${day(ms)}, ${clock(ms, true)}${fraction}`;
}

// The longest of a day, a minute, a second and a millisecond that fits into so many milliseconds.
export const fineness = (ms) => [DAY, MINUTE, 1000].find((step) => step <= ms) ?? 1;

// A range, as exact as its length asks for.
export function range(from, to) {
  const fine = fineness((to - from) / 60);
  const [start, end] = [Math.floor(from / fine) * fine, Math.ceil(to / fine) * fine];
  const sameDay = day(start) === day(end) && end % DAY !== 0;
  return `${moment(start)} – ${sameDay ? moment(end).replace(`${day(end)}, `, "") : moment(end)}`;
}

export const iso = (ms) => new Date(ms).toISOString();
export const parse = (text) => (text ? Date.parse(text) : null);

export function ago(ms, now = Date.now()) {
  const past = now - ms;
  if (past < 0) return "ahead of now";
  if (past < MINUTE) return "just now";
  if (past < HOUR) return `${Math.floor(past / MINUTE)} min ago`;
  if (past < 2 * DAY) return `${Math.floor(past / HOUR)} h ago`;
  if (past < 730 * DAY) return `${whole.format(Math.floor(past / DAY))} days ago`;
  return `${Math.floor(past / (365.25 * DAY))} years ago`;
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

const LENGTHS = [
  ["years", 365 * 86_400],
  ["days", 86_400],
  ["hours", 3600],
  ["minutes", 60],
];

// A length of time, to two digits or so.
export function lasting(seconds) {
  const [unit, size] = LENGTHS.find((one) => seconds >= one[1]) ?? ["seconds", 1];
  const value = seconds / size;
  return `${value < 10 ? Number(value.toFixed(1)) : whole.format(value)} ${unit}`;
}
