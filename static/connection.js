// From the server's stream to the page: one EventSource for all tabs of a browser.
//
// A browser opens six connections to a server, no more, so a stream in each tab would leave the seventh
// tab without even a page. Tabs share a worker that holds the one stream; where there are no shared
// workers, a tab has its own.

/** Nothing for this long, heartbeats included: the connection is dead, whatever it says of itself. */
const SILENT_MS = 5000;
/** A large picture takes a while on a slow line, and nothing is heard until all of it is here. */
const BEGINNING_MS = 25000;
/** A tab that nobody has seen for so long lets go of the stream. */
const HIDDEN_MS = 60000;
const RECONNECT_MS = [500, 1000, 2000, 4000];

/** A stream that never gives up. Tells `listener` {message, id}, {missed} and {up}. */
export class Stream {
  #listener;
  #source = null;
  #lastId;
  #heard = Date.now();
  #failures = 0;
  #retry = 0;
  #watch = 0;

  #address;

  constructor(address, lastId, listener) {
    this.#address = address;
    this.#lastId = lastId;
    this.#listener = listener;
    this.#watch = setInterval(() => {
      if (this.#source && Date.now() - this.#heard > SILENT_MS) this.#reopen();
    }, 1000);
    this.#open();
  }

  close() {
    clearInterval(this.#watch);
    clearTimeout(this.#retry);
    this.#source?.close();
  }

  #open() {
    this.#heard = Date.now() + BEGINNING_MS;
    // The browser's own reconnect sends the id as a header; a new EventSource can't.
    const address = new URL(this.#address, location.origin);
    address.searchParams.set("since", this.#lastId);
    const source = new EventSource(address);
    this.#source = source;
    source.onmessage = (event) => {
      this.#heard = Date.now();
      this.#failures = 0;
      this.#lastId = event.lastEventId;
      this.#listener({ message: event.data, id: event.lastEventId });
    };
    source.addEventListener("missed", (event) => this.#listener({ missed: JSON.parse(event.data).messages }));
    source.onerror = () => {
      this.#listener({ up: false });
      // An answer other than 200 (too many connections) ends an EventSource for good.
      if (source.readyState === EventSource.CLOSED) this.#reopen();
    };
  }

  #reopen() {
    this.#listener({ up: false });
    this.#source?.close();
    this.#source = null;
    const pause = RECONNECT_MS[Math.min(this.#failures++, RECONNECT_MS.length - 1)];
    // A server that comes back shouldn't meet all browsers at once.
    this.#retry = setTimeout(() => this.#open(), pause * (0.5 + Math.random()));
  }
}

/** Follows the stream at `address` after `lastId`, as long as somebody may be looking. */
export function connect(address, lastId, listener) {
  const heard = (event) => {
    if (event.id) lastId = event.id;
    listener(event);
  };
  let line = join(address, lastId, heard);
  let hidden = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hidden);
    if (document.hidden) {
      hidden = setTimeout(() => (line = line?.close()), HIDDEN_MS);
    } else {
      line ??= join(address, lastId, heard);
    }
  });
  addEventListener("pagehide", () => line?.close());
}

/** Joins the tabs' common stream, or has one of its own; what comes back can be closed. */
function join(address, lastId, listener) {
  if (typeof SharedWorker === "undefined") return new Stream(address, lastId, listener);
  try {
    const worker = new SharedWorker(new URL("./connection-worker.js", import.meta.url), {
      type: "module",
      // One worker for each stream: each field has its own.
      name: `fireworks ${address}`,
    });
    let own = null;
    let isClosed = false;
    worker.onerror = () => {
      if (!isClosed) own ??= new Stream(address, lastId, listener);
    };
    worker.port.onmessage = (event) => isClosed || listener(event.data);
    worker.port.postMessage({ hello: lastId, address });
    const close = () => {
      isClosed = true;
      worker.port.postMessage({ bye: true });
      own?.close();
    };
    return { close };
  } catch {
    return new Stream(address, lastId, listener);
  }
}
