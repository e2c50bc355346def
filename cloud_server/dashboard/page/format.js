// Numbers as people read them: three digits that matter, a unit, and a dash for what nobody knows.

export const UNKNOWN = "–";

const known = (value) => typeof value === "number" && Number.isFinite(value);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** `[number, unit]` of a value and its steps `[size, unit]`, the largest first. */
function scaled(value, steps) {
  if (!known(value)) return [UNKNOWN, ""];
  const [size, unit] = steps.find(([least]) => Math.abs(value) >= least * 0.9995) ?? steps.at(-1);
  return [digits(value / size), unit];
}

/** At most three digits that matter; no zeros behind the point that say nothing. */
export function digits(value) {
  if (!known(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size >= 100) return whole.format(value);
  return String(Number(value.toFixed(size >= 10 ? 1 : size >= 0.1 ? 2 : 3)));
}

const LATENCY = [
  [1, "s"],
  [1e-3, "ms"],
  [1e-6, "µs"],
];
const SPAN = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];
const BYTES = [
  [1e12, "TB"],
  [1e9, "GB"],
  [1e6, "MB"],
  [1e3, "kB"],
  [1, "B"],
];
const COUNT = [
  [1e9, "bn"],
  [1e6, "M"],
  [1e4, "k"],
  [1, ""],
];

/** Seconds of computing or waiting. */
export const latency = (seconds) => scaled(seconds, LATENCY);
export const bytes = (value) => scaled(value, BYTES);

/** A count, exact while that is short. */
export const count = (value) =>
  known(value) && Math.abs(value) < 1e5
    ? [whole.format(value), ""]
    : scaled(
        value,
        COUNT.map(([size, unit]) => [size === 1e4 ? 1e3 : size, unit]),
      );

/** Seconds that have passed, whole. */
export function span(seconds) {
  if (!known(seconds)) return [UNKNOWN, ""];
  if (seconds < 1) return ["0", "s"];
  const [size, unit] = SPAN.find(([least]) => seconds >= least);
  return [whole.format(Math.floor(seconds / size)), unit];
}

/** A share of 1, in per cent. */
export function percent(share) {
  if (!known(share)) return [UNKNOWN, ""];
  const value = 100 * share;
  const places = value !== 0 && value < 1 ? 2 : value > 99 && value < 100 ? 2 : 1;
  return [String(Number(value.toFixed(value === 100 ? 0 : places))), "%"];
}

/** Number and unit in one text. */
export const text = ([number, unit]) => (unit ? `${number}\u202f${unit}` : number);

export const ago = (seconds) =>
  !known(seconds) ? UNKNOWN : seconds < 2 ? "now" : `${text(span(seconds))} ago`;
export const time = (moment) => clock.format(moment * 1000);
export const moment = (seconds) => date.format(seconds * 1000);

/** `1 device`, `2 devices`. */
export const plural = (number, noun) => `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`;
