// What lies under the paths: the fan of theory, and a crowd's density and quantiles.
//
// Draws on a plot's canvas between its axes and its lines; keeps one small image and no state that matters.

import { spread } from "./theory.js";

/** The bounds that the server tells of a column: which share of the devices lies below each. */
export const LEVELS = [0, 0.01, ...Array.from({ length: 19 }, (_, n) => (n + 1) / 20), 0.99, 1];
const at = (level) => LEVELS.findIndex((known) => Math.abs(known - level) < 1e-9);
/** Quantiles that are drawn: their places, how strongly, and what they are called. */
const QUANTILES = [
  { at: at(0.01), dash: [2, 4], label: "1 %" },
  { at: at(0.25), dash: [], label: "25 %" },
  { at: at(0.5), dash: [], label: "median", width: 2 },
  { at: at(0.75), dash: [], label: "75 %" },
  { at: at(0.99), dash: [2, 4], label: "99 %" },
];
/** Rows of the density's image; the canvas smooths between them. */
const ROWS = 140;
/** Rows on either side that a row's density is the mean of, and columns that a column stands for. */
const BLUR = 4;
const CARRIED = 8;

/** What has to be seen of a crowd: nearly all of it, in every column. */
export function extent(columns, kind) {
  let range = null;
  for (const { [kind]: bounds } of columns) {
    if (!bounds?.length) continue;
    const [low, high] = [bounds[1], bounds[LEVELS.length - 2]];
    range = range ? [Math.min(range[0], low), Math.max(range[1], high)] : [low, high];
  }
  return range;
}

function clipped(plot, draw) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  draw(ctx, bbox);
  ctx.restore();
}

/** ±1σ√t and ±2σ√t around where the paths are measured from; outlines only, where a crowd lies below. */
export function drawFan(plot, theory, anchor, get, isOutline) {
  clipped(plot, (ctx, bbox) => {
    const { min, max } = plot.scales.x;
    const times = [];
    for (let x = 0; x <= bbox.width; x += 3 * devicePixelRatio) times.push(min + ((max - min) * x) / bbox.width);
    // The apex itself, and close to it where the root is steep.
    for (let n = -6; n <= 6; n++) times.push(anchor + Math.sign(n) * (max - min) * 0.0004 * n * n);
    const inside = times.filter((time) => time >= min && time <= max).sort((a, b) => a - b);
    const point = (time, sigmas) => [plot.valToPos(time, "x", true), plot.valToPos(sigmas * spread(theory, time - anchor), "y", true)];
    for (const sigmas of [2, 1]) {
      const upper = inside.map((time) => point(time, sigmas));
      const lower = inside.map((time) => point(time, -sigmas)).reverse();
      ctx.beginPath();
      for (const [x, y] of [...upper, ...lower]) ctx.lineTo(x, y);
      ctx.closePath();
      ctx.fillStyle = get("--fan");
      if (!isOutline) ctx.fill();
      ctx.strokeStyle = get("--fan-edge");
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash(sigmas === 1 ? [] : [5 * devicePixelRatio, 4 * devicePixelRatio]);
      for (const edge of [upper, lower]) {
        ctx.beginPath();
        for (const [x, y] of edge) ctx.lineTo(x, y);
        ctx.stroke();
      }
      const time = max - (max - min) * 0.03;
      label(ctx, `±${sigmas === 1 ? "" : sigmas}σ√t`, point(time, sigmas), get("--fan-text"), get, "right");
    }
  });
}

/** The density of a crowd as a heat map, with its quantiles on top. */
export function drawCrowd(plot, columns, seconds, kind, get) {
  const shown = columns.filter((column) => column[kind]?.length);
  if (shown.length === 0) return;
  clipped(plot, (ctx) => {
    drawDensity(plot, ctx, shown, seconds, kind, get("--density"));
    for (const quantile of QUANTILES) {
      ctx.beginPath();
      for (const column of shown) {
        ctx.lineTo(plot.valToPos((column.b + 1) * seconds, "x", true), plot.valToPos(column[kind][quantile.at], "y", true));
      }
      ctx.strokeStyle = get("--quantile");
      ctx.lineWidth = (quantile.width ?? 1) * devicePixelRatio;
      ctx.setLineDash(quantile.dash.map((length) => length * devicePixelRatio));
      ctx.stroke();
      // Left of where the fan has its own labels.
      const named = shown[Math.floor(shown.length * 0.86)];
      const place = [plot.valToPos((named.b + 1) * seconds, "x", true), plot.valToPos(named[kind][quantile.at], "y", true)];
      label(ctx, quantile.label, place, get("--text"), get, "right");
    }
  });
}

const image = new OffscreenCanvas(1, 1);

function drawDensity(plot, ctx, columns, seconds, kind, colour) {
  const { min, max } = plot.scales.y;
  const [first, last] = [columns[0].b, columns.at(-1).b];
  const width = last - first + 1;
  if (width > 4000 || !(max > min)) return;
  image.width = width;
  image.height = ROWS;
  const paint = image.getContext("2d");
  const pixels = paint.createImageData(width, ROWS);
  const [red, green, blue] = colour.split(/[ ,]+/).map(Number);
  const row = (max - min) / ROWS;
  // A column's densest row is fully coloured, or nearly: the eye compares shapes along time.
  columns.forEach((column, at) => {
    const shares = smooth(smooth(sharesByRow(column[kind], min, row)));
    const most = Math.max(...shares);
    // Devices that send seldom leave columns empty: a few of them show what was there before.
    const next = Math.min(columns[at + 1]?.b ?? column.b + 1, column.b + 1 + CARRIED);
    for (let n = 0; n < ROWS; n++) {
      const alpha = most > 0 ? 235 * (shares[n] / most) ** 0.8 : 0;
      for (let b = column.b; b < next; b++) pixels.data.set([red, green, blue, alpha], ((ROWS - 1 - n) * width + (b - first)) * 4);
    }
  });
  paint.putImageData(pixels, 0, 0);
  const left = plot.valToPos(first * seconds, "x", true);
  const right = plot.valToPos((last + 1) * seconds, "x", true);
  ctx.imageSmoothingEnabled = true;
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(image, left, plot.bbox.top, right - left, plot.bbox.height);
}

/** Which share of the devices lies in each row: the difference of a distribution that is linear between bounds. */
export function sharesByRow(bounds, min, row) {
  const shares = new Float32Array(ROWS);
  let n = 0;
  const below = (value) => {
    if (value <= bounds[0]) return 0;
    while (n < LEVELS.length - 2 && bounds[n + 1] < value) n++;
    if (value >= bounds[LEVELS.length - 1]) return 1;
    const part = (value - bounds[n]) / (bounds[n + 1] - bounds[n] || 1);
    return LEVELS[n] + (LEVELS[n + 1] - LEVELS[n]) * part;
  };
  let previous = below(min);
  for (let at = 0; at < ROWS; at++) {
    const next = below(min + (at + 1) * row);
    shares[at] = next - previous;
    previous = next;
  }
  return shares;
}

/** The mean over some rows: twenty bounds tell no finer than that. */
function smooth(shares) {
  const sums = new Float32Array(ROWS + 1);
  for (let n = 0; n < ROWS; n++) sums[n + 1] = sums[n] + shares[n];
  return shares.map((_, n) => {
    const [from, to] = [Math.max(0, n - BLUR), Math.min(ROWS, n + BLUR + 1)];
    return (sums[to] - sums[from]) / (to - from);
  });
}

function label(ctx, text, [x, y], colour, get, align) {
  ctx.save();
  ctx.setLineDash([]);
  ctx.font = `${Number.parseFloat(get("--chart-font")) * 0.92 * devicePixelRatio}px ${get("--font")}`;
  ctx.textAlign = align;
  ctx.textBaseline = "bottom";
  ctx.lineWidth = 3 * devicePixelRatio;
  ctx.strokeStyle = get("--surface");
  ctx.strokeText(text, x, y - 2 * devicePixelRatio);
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y - 2 * devicePixelRatio);
  ctx.restore();
}
