// What stands beside the cursor: a time, and the values there.
//
// Names are text. It keeps to one side of the cursor until there is no room, so that it doesn't flicker.

import { COLOURS } from "./chart.js";
import * as format from "./format.js";
import { LEVELS } from "./layers.js";

/** Those next to the cursor, where there are too many to list. */
const ROWS = 9;
const BOUNDS = [["99 %", 0.99], ["75 %", 0.75], ["median", 0.5], ["25 %", 0.25], ["1 %", 0.01]];

export function fillTooltip(tooltip, area, under, bucket) {
  tooltip.hidden = !under || (under.values.length === 0 && !under.spread);
  if (tooltip.hidden) return;
  const time = document.createElement("time");
  time.textContent = format.clock(under.time, bucket < 1000 ? 0.1 : 1);
  const focus = Math.max(0, under.values.findIndex((entry) => entry.i === under.focused));
  const from = Math.max(0, Math.min(focus - 4, under.values.length - ROWS));
  const rows = under.values.slice(from, from + ROWS).map((entry) => {
    const made = row(entry.id, entry.value, `swatch colour-${(entry.colour % COLOURS) + 1} dash-${Math.floor(entry.colour / COLOURS)}`);
    made.classList.toggle("is-focused", entry.i === under.focused);
    return made;
  });
  const spread = under.spread ? BOUNDS.map(([name, level]) => row(name, under.spread[LEVELS.findIndex((known) => Math.abs(known - level) < 1e-9)], "swatch quantile")) : [];
  tooltip.replaceChildren(time, ...spread, ...rows);
  const x = under.left + 70;
  const isRight = x + tooltip.offsetWidth + 24 > area.clientWidth;
  tooltip.style.left = `${isRight ? Math.max(0, x - tooltip.offsetWidth - 24) : x + 12}px`;
  tooltip.style.top = `${Math.max(8, Math.min(under.top, area.clientHeight - tooltip.offsetHeight - 40))}px`;
}

function row(text, number, className) {
  const made = document.createElement("div");
  const swatch = document.createElement("i");
  swatch.className = className;
  const name = document.createElement("bdi");
  name.textContent = text;
  const value = document.createElement("b");
  value.textContent = format.value(number);
  made.append(swatch, name, value);
  return made;
}
