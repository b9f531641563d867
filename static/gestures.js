// Zooming and panning the picture: by wheel, by fingers, and with Shift by dragging.
//
// It turns movements into ranges of time and hands them on; what a range means is the page's business.

const LEAST = 1;

/** The range around `at`, `factor` times as long. */
export function zoomed({ min, max }, factor, at = (min + max) / 2) {
  const length = Math.max(LEAST, (max - min) * factor);
  const from = at - ((at - min) / (max - min)) * length;
  return { min: from, max: from + length };
}

export function panned({ min, max }, part) {
  const by = (max - min) * part;
  return { min: min + by, max: max + by };
}

/** Listens to a plot; `onRange` gets where it should look. */
export function listen(plot, onRange) {
  const { over } = plot;
  const range = () => ({ min: plot.scales.x.min, max: plot.scales.x.max });
  over.addEventListener(
    "wheel",
    (event) => {
      // A page that scrolls is scrolled, unless zooming is asked for.
      const scrolls = document.documentElement.scrollHeight > innerHeight + 1;
      if (scrolls && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      if (isSideways) onRange(panned(range(), (event.deltaX || event.deltaY) / over.clientWidth));
      else onRange(zoomed(range(), Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 300), plot.posToVal(event.offsetX, "x")));
    },
    { passive: false },
  );
  drag(plot, over, range, onRange);
}

function drag(plot, over, range, onRange) {
  const fingers = new Map();
  let start = null;
  const begin = () => {
    start = { range: range(), places: [...fingers.values()], wide: over.clientWidth };
  };
  over.addEventListener(
    "pointerdown",
    (event) => {
      const isPan = event.pointerType === "touch" || event.shiftKey;
      if (!isPan) return;
      fingers.set(event.pointerId, event.clientX);
      begin();
    },
    true,
  );
  // The library would begin a selection.
  over.addEventListener("mousedown", (event) => event.shiftKey && event.stopImmediatePropagation(), true);
  const move = (event) => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, event.clientX);
    const places = [...fingers.values()];
    const { min, max } = start.range;
    const left = over.getBoundingClientRect().left;
    const timeAt = (x) => min + ((x - left) / start.wide) * (max - min);
    if (places.length === 1) {
      if (Math.abs(places[0] - start.places[0]) < 6) return;
      onRange(panned(start.range, (start.places[0] - places[0]) / start.wide));
    } else if (places.length === 2) {
      const apart = (two) => Math.max(20, Math.abs(two[0] - two[1]));
      onRange(zoomed(start.range, apart(start.places) / apart(places), timeAt((start.places[0] + start.places[1]) / 2)));
    }
  };
  const end = (event) => {
    if (fingers.delete(event.pointerId) && fingers.size) begin();
  };
  over.addEventListener("pointermove", move);
  for (const kind of ["pointerup", "pointercancel", "pointerleave"]) over.addEventListener(kind, end);
}
