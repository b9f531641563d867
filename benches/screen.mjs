// How old events are when a browser has painted them, with one event a millisecond: prints [p50, p99] in ms.
//
//   node benches/screen.mjs http://localhost:PORT SECONDS
//
// PLAYWRIGHT_CORE and CHROMIUM are as for tests/browser/page.mjs.

import { createRequire } from "node:module";

const [address, seconds] = [process.argv[2], Number(process.argv[3])];
const require = createRequire(`${process.env.PLAYWRIGHT_CORE}/`);
const { chromium } = require("playwright-core");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
await page.goto(address);
await page.waitForFunction(() => globalThis.fireworks?.model.now?.state.kind === "live", null, { timeout: 60000 });
await page.waitForTimeout(3000);
const delays = await page.evaluate(
  (length) =>
    new Promise((resolve) => {
      const [delays, end] = [[], performance.now() + length];
      let painted = globalThis.fireworks.model.now.head;
      const look = () => {
        const { head } = globalThis.fireworks.model.now;
        // What has come since the last frame is on the screen when this one has been painted.
        if (head > painted) {
          const from = painted;
          painted = head;
          setTimeout(() => {
            const now = Date.now();
            for (let time = from + 1; time <= head; time++) delays.push(now - time);
          });
        }
        if (performance.now() < end) requestAnimationFrame(look);
        else resolve(delays);
      };
      requestAnimationFrame(look);
    }),
  seconds * 1000,
);
await browser.close();
delays.sort((a, b) => a - b);
const quantile = (q) => delays[Math.round((delays.length - 1) * q)];
console.log(JSON.stringify([quantile(0.5), quantile(0.99)]));
