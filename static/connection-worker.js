// The shared worker: holds the one stream and hands its messages to every tab.
//
// It keeps the last messages as they came, so that a tab that opens with a picture of its own goes on
// from there without a gap; it never looks into them.

import { Stream } from "./connection.js";

const KEPT = 100;

const ports = new Set();
const recent = [];
let stream = null;
let isUp = true;

function listener(event) {
  if (event.message !== undefined) {
    isUp = true;
    recent.push(event);
    if (recent.length > KEPT) recent.shift();
  } else if (event.up === false) {
    isUp = false;
  }
  for (const port of ports) port.postMessage(event);
}

function join(port, lastId, address) {
  ports.add(port);
  if (!stream) {
    stream = new Stream(address, lastId, listener);
    return;
  }
  if (!isUp) port.postMessage({ up: false });
  // Where the tab's own id isn't among them, it notices the gap itself.
  const at = recent.findIndex((event) => event.id === lastId);
  for (const event of recent.slice(at + 1)) port.postMessage(event);
}

function leave(port) {
  ports.delete(port);
  if (ports.size > 0) return;
  stream?.close();
  stream = null;
  recent.length = 0;
}

onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => (data.bye ? leave(port) : join(port, data.hello, data.address));
};
