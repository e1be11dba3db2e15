/** `npm run shots`: the documentation's pictures of the page. People in them are public-domain portraits. */

import { join, resolve } from "node:path";
import type { BrowserContextOptions, Page } from "playwright-core";
import { describe, inject, test } from "vitest";
import { chromiumMissing, launch, open, serve } from "./browser";
import { fixtures } from "./python";

const out = process.env.SHOTS;

describe.skipIf(out === undefined || chromiumMissing())("screenshots", () => {
  async function shoot(name: string, options: BrowserContextOptions, act: (page: Page) => Promise<void>) {
    const { url, server } = await serve();
    const browser = await launch(join(inject("scene"), "camera.mjpeg"));
    const page = await open(await browser.newContext({ locale: "en-GB", ...options }), url);
    await page.locator('html[data-offline="true"]').waitFor();
    await act(page);
    const path = resolve(String(out), `web-${name}.png`);
    await page.screenshot({ path });
    fixtures("shrink", path);
    await browser.close();
    server.close();
  }

  test("of the example, light", async () => {
    await shoot("light", { viewport: { width: 1280, height: 1010 } }, async (page) => {
      await page.click("#example");
      await page.locator(".face").nth(2).waitFor();
    });
  });

  test("of a webcam, dark", async () => {
    await shoot("dark", { viewport: { width: 1280, height: 1180 }, colorScheme: "dark" }, async (page) => {
      await page.click("#webcam");
      await page.locator(".face").nth(2).waitFor();
      await page.locator("#fps", { hasText: /^\d+\.\d$/ }).waitFor();
    });
  });

  test("of a phone, in Spanish", async () => {
    const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, locale: "es-ES" };
    await shoot("phone", phone, async (page) => {
      const pictures = ["dark.png", "scene-640-055.png", "scene-640-035.png"];
      await page.setInputFiles(
        "#files",
        pictures.map((name) => join(inject("scene"), "pictures", name)),
      );
      await page.locator("#strip button").nth(2).waitFor();
      await page.evaluate(() => document.getElementById("stage")?.scrollIntoView());
    });
  });
});
