// Pictures of the dashboard, in both themes and at three widths.
//
//   node tests/browser/screenshots.mjs http://localhost:8080 DIRECTORY [README.png]
//
// For people to look at; it compares nothing. PLAYWRIGHT_CORE and CHROMIUM are as for page.mjs.

import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";

const [base, directory, readme] = process.argv.slice(2);
const { chromium } = createRequire(`${process.env.PLAYWRIGHT_CORE ?? process.cwd()}/`)("playwright-core");
const WIDTHS = { phone: [390, 844], desk: [1440, 900], wall: [3840, 2160] };

mkdirSync(directory, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--lang=en-US"],
  env: { ...process.env, LANG: "en_US.UTF-8" },
});

async function shoot(path, [width, height], colorScheme) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme });
  await page.goto(base, { waitUntil: "domcontentloaded" });
  // All of the history that it begins with.
  await page.waitForFunction(() => globalThis.fireworks?.model.times.length > 200 && document.getElementById("state").textContent === "Live", null, { timeout: 60000 });
  await page.waitForTimeout(1500);
  await page.screenshot({ path, timeout: 60000 });
  await page.close();
  console.log(path);
}

try {
  for (const colorScheme of ["light", "dark"]) {
    for (const [name, size] of Object.entries(WIDTHS)) await shoot(`${directory}/${name}-${colorScheme}.png`, size, colorScheme);
  }
  if (readme) await shoot(readme, [1280, 800], "dark");
} finally {
  await browser.close();
}
