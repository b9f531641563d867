// The picture as a file: the image, and its values as CSV or JSON.
//
// What is saved is what is shown: the window, the devices and the field of this moment.

import * as format from "./format.js";
import { LEVELS } from "./layers.js";

/** Columns for a crowd: which bound of the shares each of them is. */
const QUANTILES = [["1 %", 0.01], ["25 %", 0.25], ["median", 0.5], ["75 %", 0.75], ["99 %", 0.99]].map(([name, level]) => ({
  name,
  at: LEVELS.findIndex((known) => Math.abs(known - level) < 1e-9),
}));

/** A cell that a spreadsheet takes as text, whatever the device is called. */
function cell(text) {
  const plain = String(text);
  const harmless = /^[=+\-@\t\r]/.test(plain) && !Number.isFinite(Number(plain)) ? `'${plain}` : plain;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

/** One row a time, one column a device. */
export function csv({ times, devices }) {
  const head = ["time", ...devices.map(({ id }) => id)].map(cell).join(",");
  const rows = times.map((time, n) => {
    const values = devices.map(({ values }) => values[n] ?? "");
    return [new Date(time * 1000).toISOString(), ...values].join(",");
  });
  return `${[head, ...rows].join("\r\n")}\r\n`;
}

/** The values that are shown, in a range of times (seconds): of each line, and of a crowd its quantiles. */
export function shown(model, lines, { min, max }) {
  const from = model.indexAt(min - 1e-9) + 1;
  const to = model.indexAt(max) + 1;
  const times = model.times.slice(from, to);
  const devices = lines.map(({ device }) => ({ id: device.id, values: device.values.slice(from, to) }));
  const quantiles = model.now.crowd ? QUANTILES.map((quantile) => ({ id: quantile.name, values: times.map((time) => bound(model, time, quantile.at)) })) : [];
  return { topic: model.about.topic, field: model.now.field, times, devices: [...quantiles, ...devices] };
}

/** The value below which a share of all devices lies at a time. */
function bound(model, time, at) {
  const column = model.columns.get(Math.floor((time * 1000) / model.about.column_ms + 1e-9));
  return column?.q?.[at] ?? null;
}

/** The picture with its panels, title and background, at the size it has on the screen. */
export async function png(canvases, title, style) {
  const get = (name) => style.getPropertyValue(name).trim();
  const scale = devicePixelRatio;
  const head = 40 * scale;
  const width = Math.max(...canvases.map((canvas) => canvas.width));
  const height = canvases.reduce((sum, canvas) => sum + canvas.height, head);
  const image = new OffscreenCanvas(width, height);
  const paint = image.getContext("2d");
  paint.fillStyle = get("--surface");
  paint.fillRect(0, 0, width, height);
  paint.fillStyle = get("--text");
  paint.font = `600 ${15 * scale}px ${get("--font")}`;
  paint.fillText(title, 14 * scale, 26 * scale);
  let top = head;
  for (const canvas of canvases) {
    paint.drawImage(canvas, 0, top);
    top += canvas.height;
  }
  return image.convertToBlob({ type: "image/png" });
}

export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** A file's name that tells what it is of and when. */
export function fileName(topic, ending) {
  const now = new Date();
  return `${topic}-${format.day(now)}-${format.clock(now / 1000).replaceAll(":", "")}.${ending}`;
}
