// Numbers and times as people read them. Pure.

const two = (number) => String(number).padStart(2, "0");

/** A device's name as it may be read: without characters that hide, or turn the text around. */
export function name(id) {
  return id.replace(/[\p{Cc}\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu, "\ufffd");
}

/** Thousands apart, and no more digits than tell something. */
export function count(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 1e7) return `${(number / 1e6).toFixed(1)} M`;
  return Math.round(number).toLocaleString("en-US").replaceAll(",", "\u202f");
}

export function rate(number) {
  return number < 100 && number % 1 !== 0 ? number.toFixed(1) : count(number);
}

/** Digits of a value, at most. */
const DIGITS = 10;

/**
 * A value of a path, with the decimals that tell it from others which differ by `span` altogether: the same for all
 * of them, so that nothing dances. Without a span, three.
 */
export function value(number, span = null) {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  const wanted = span > 0 && Number.isFinite(span) ? Math.ceil(3 - Math.log10(span)) : 3;
  if (size >= 10 ** DIGITS) return minus(number.toExponential(Math.max(2, Math.min(DIGITS - 1, Math.floor(Math.log10(size)) + wanted))));
  if (size > 0 && size < 1e-3 && size < 10 ** -wanted) return minus(number.toExponential(2));
  const whole = size >= 1 ? Math.floor(Math.log10(size)) + 1 : 1;
  return minus(number.toFixed(Math.max(0, Math.min(DIGITS - whole, wanted))));
}

/** So many decimals, always: for a column whose numbers should stand below each other. */
export function fixed(number, decimals) {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  return minus(Math.abs(number) < 1e5 ? number.toFixed(decimals) : number.toExponential(2));
}

/** Text of a number, with a sign as wide as a digit; what rounds to nothing has none. */
const minus = (text) => (/^-0(\.0+)?$/.test(text) ? text.slice(1) : text.replace("-", "\u2212"));

export function duration(ms) {
  const seconds = Math.round(Math.abs(ms) / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} min`;
  const days = Math.floor(seconds / 86400);
  return days < 730 ? `${days} days` : `${Math.floor(days / 365)} years`;
}

export function latency(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms);
}

/** The time of day, as exact as the distance between two marks asks for. */
export function clock(seconds, step = 1) {
  const date = new Date(seconds * 1000);
  if (step >= 86400) return day(date);
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (step >= 60) return minutes;
  const whole = `${minutes}:${two(date.getSeconds())}`;
  return step >= 1 ? whole : `${whole}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export function day(date) {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
