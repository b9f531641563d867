// What the steps of one device, or of all of them, say about memory, drift and volatility.
//
// A walk without memory goes up as often after an up as after a down; here stands what it did beside that.

import * as format from "./format.js";
import { errors, transitions } from "./theory.js";

const at = (id) => document.getElementById(id);
const put = (id, text) => {
  if (at(id).textContent !== text) at(id).textContent = text;
};
const percent = (share) => `${(share * 100).toFixed(1)} %`;

/** Fills the card about `device`, or about all devices where it is null. */
export function showDetail(model, device) {
  const estimates = device?.latest?.estimates ?? (device ? null : model.pool);
  const moves = estimates ? transitions(estimates) : null;
  at("detail-card").hidden = !model.pool;
  if (!model.pool) return;
  const all = model.pool.devices === 1 ? "the device" : `all ${format.count(model.pool.devices)} devices`;
  put("detail-name", device ? format.name(device.id) : all);
  const cell = (id, share, error, count) => {
    put(`${id}-share`, moves ? percent(share) : "–");
    put(`${id}-error`, moves ? `± ${(error * 100).toFixed(1)}` : "");
    at(id).style.setProperty("--share", moves ? share.toFixed(3) : 0);
    at(id).title = moves ? `${format.count(count)} times` : "";
  };
  cell("uu", moves?.upAfterUp, moves?.errorAfterUp, estimates?.up_up);
  cell("ud", 1 - moves?.upAfterUp, moves?.errorAfterUp, estimates?.up_down);
  cell("du", moves?.upAfterDown, moves?.errorAfterDown, estimates?.down_up);
  cell("dd", 1 - moves?.upAfterDown, moves?.errorAfterDown, estimates?.down_down);
  put("memoryless-up", moves ? percent(moves.up) : "–");
  put("memoryless-down", moves ? percent(1 - moves.up) : "–");
  put("verdict", moves ? verdict(moves.deviation) : "Too few steps to tell.");
  const error = errors({ ...estimates, devices: device ? 1 : model.pool.devices });
  put("drift", estimates ? `${format.fixed(estimates.drift, 3)} ± ${format.fixed(error.drift, 3)}` : "–");
  put("volatility", estimates ? `${format.fixed(estimates.volatility, 3)} ± ${format.fixed(error.volatility, 3)}` : "–");
}

function verdict(deviation) {
  const errors = `${format.fixed(Math.abs(deviation), 1)} standard errors from a walk without memory`;
  if (Math.abs(deviation) < 2) return `${errors}: none to be seen.`;
  return Math.abs(deviation) < 3 ? `${errors}: chance does that once in twenty.` : `${errors}: it remembers.`;
}
