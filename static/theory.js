// What a memoryless walk would do, and how far the devices are from it. Pure.

/** Shares of a normal distribution within one and two standard deviations. */
export const WITHIN = [0.6827, 0.9545];

/** The half-width of the fan after so many seconds, either way from the anchor. */
export function spread(theory, seconds) {
  return theory.sigma * Math.sqrt(Math.abs(seconds));
}

/**
 * Up and down after up and down, as shares, beside the share that a memoryless walk would have whatever came
 * before; `deviation` is their difference in standard errors. Null where there are too few steps.
 */
export function transitions({ up_up: uu, up_down: ud, down_up: du, down_down: dd }) {
  const [afterUp, afterDown] = [uu + ud, du + dd];
  const all = afterUp + afterDown;
  if (afterUp === 0 || afterDown === 0) return null;
  const up = (uu + du) / all;
  const error = Math.sqrt(up * (1 - up) * (1 / afterUp + 1 / afterDown));
  const difference = uu / afterUp - du / afterDown;
  return {
    afterUp,
    afterDown,
    up,
    upAfterUp: uu / afterUp,
    upAfterDown: du / afterDown,
    errorAfterUp: Math.sqrt((up * (1 - up)) / afterUp),
    errorAfterDown: Math.sqrt((up * (1 - up)) / afterDown),
    deviation: error > 0 ? difference / error : 0,
  };
}

/** A median's standard error is larger than a mean's by this, in a normal distribution. */
const MEDIAN = Math.sqrt(Math.PI / 2);

/**
 * The standard errors of a drift and of a volatility that were estimated from `n` steps of so many seconds; of
 * several devices they are medians.
 */
export function errors({ volatility, seconds, n, devices = 1 }) {
  if (volatility === null || volatility === undefined) return { drift: null, volatility: null };
  const free = n - 2 * devices;
  const wider = devices > 2 ? MEDIAN : 1;
  return {
    drift: seconds > 0 ? (wider * volatility) / Math.sqrt(seconds) : null,
    volatility: free > 0 ? (wider * volatility) / Math.sqrt(2 * free) : null,
  };
}

/** The shares of devices inside the fan over some columns; null where there are none. */
export function inside(columns) {
  const sum = [0, 0, 0];
  for (const column of columns) column.inside?.forEach((number, n) => (sum[n] += number));
  return sum[2] ? { one: sum[0] / sum[2], two: sum[1] / sum[2] } : null;
}
