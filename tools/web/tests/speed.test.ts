/** `npm run speed`: milliseconds a picture in the browser beside the native agent's on this machine, as JSON. */

import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { describe, expect, inject, test } from "vitest";
import { chromiumMissing, launch, open, serve } from "./browser";
import { fixtures } from "./python";

interface Times {
  faces: number;
  detect_ms: number;
  classify_ms: number;
  detect_ms_best: number;
  classify_ms_best: number;
}

function median(values: number[]): number {
  const sorted = values.sort((one, other) => one - other);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

const out = process.env.SPEED;

describe.skipIf(out === undefined || chromiumMissing())("speed", () => {
  test("is measured for one picture, seen once as a whole", async () => {
    const folder = inject("scene");
    fixtures("native", join(folder, "native.json"));
    const native: { rounds: number; sizes: Record<string, Times> } = JSON.parse(
      readFileSync(join(folder, "native.json"), "utf8"),
    );
    const { url, server } = await serve();
    const browser = await launch();
    const page = await open(await browser.newContext(), url);
    await page.uncheck("#closely");
    const sizes: Record<string, { native: Times; browser: Times }> = {};
    for (const [size, times] of Object.entries(native.sizes)) {
      const picture = join(folder, `speed-${size.split("x")[0]}.png`);
      await page.evaluate(() => {
        const seen: [number, number][] = [];
        const number = (id: string) => Number(document.getElementById(id)?.textContent);
        new MutationObserver(() => seen.push([number("ms-detect"), number("ms-classify")])).observe(
          document.getElementById("ms-classify") as HTMLElement,
          { childList: true },
        );
        Object.assign(window, { seen });
      });
      await page.setInputFiles("#files", new Array<string>(native.rounds).fill(picture));
      await page.locator("#status", { hasText: `${native.rounds} pictures looked at` }).waitFor({ timeout: 60_000 });
      const seen = await page.evaluate(() => (window as unknown as { seen: [number, number][] }).seen);
      expect(seen.length).toBe(native.rounds);
      const warm = seen.slice(native.rounds / 5);
      sizes[size] = {
        native: times,
        browser: {
          faces: await page.locator(".face").count(),
          detect_ms: median(warm.map(([detect]) => detect)),
          classify_ms: median(warm.map(([, classify]) => classify)),
          detect_ms_best: Math.min(...warm.map(([detect]) => detect)),
          classify_ms_best: Math.min(...warm.map(([, classify]) => classify)),
        },
      };
    }
    const version = browser.version();
    await browser.close();
    server.close();
    const found = { machine: cpus()[0]?.model, browser: `Chromium ${version}`, rounds: native.rounds, sizes };
    const json = `${JSON.stringify(found, (_, value) => (typeof value === "number" ? Number(value.toFixed(2)) : value), 1)}\n`;
    writeFileSync(String(out), json);
    console.log(json);
  });
});
