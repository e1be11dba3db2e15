/** The webcam, through Chromium's own fake camera that plays a clip. */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, inject, test } from "vitest";
import { chromiumMissing, downloadRows, launch, open, serve } from "./browser";
import { ROOT } from "./python";

describe.skipIf(chromiumMissing())("the webcam", () => {
  /** Watch until the log has these labels; gives all that were noted. */
  async function watch(camera: string, wanted: readonly string[]): Promise<Set<string>> {
    const { url, server } = await serve();
    const browser = await launch(camera);
    try {
      const context = await browser.newContext({ acceptDownloads: true, locale: "en-GB" });
      const page = await open(context, url);
      await page.click("#webcam");
      for (const label of wanted) await page.locator(`#rows .said.${label}`).first().waitFor({ timeout: 40_000 });
      expect(await page.locator("#status").textContent()).toBe("Watching webcam.");
      await page.locator("#fps", { hasText: /^\d+\.\d$/ }).waitFor();
      expect(await page.locator("#picture").getAttribute("aria-label")).toMatch(/^webcam: /);
      expect(await page.locator("#verdict").getAttribute("data-verdict")).not.toBe("no_face");

      await page.click("#pause");
      expect(await page.locator("#pause").textContent()).toBe("Go on");
      await page.click("#pause");
      expect(await page.locator("#status").textContent()).toBe("Watching webcam.");
      await page.click("#stop");
      expect(await page.locator("#status").textContent()).toBe("Stopped.");
      const rows = await downloadRows(page);
      expect(new Set(rows.map(({ source }) => source))).toEqual(new Set(["webcam"]));
      return new Set(rows.map(({ label }) => label));
    } finally {
      await browser.close();
      server.close();
    }
  }

  test("is looked at live: people with and without masks walk through the scene", async () => {
    const labels = await watch(join(inject("scene"), "camera.mjpeg"), ["mask", "no_mask"]);

    expect(labels).toContain("mask");
  });

  const clip = join(ROOT, "../shared/data/video/parking.mp4");
  test.skipIf(!existsSync(clip) || !existsSync("/usr/bin/ffmpeg"))(
    "sees the mask in a clip of ../shared, where that is there",
    async () => {
      const camera = join(inject("scene"), "parking.mjpeg");
      execFileSync("ffmpeg", ["-v", "error", "-y", "-i", clip, "-c:v", "mjpeg", "-q:v", "3", "-an", camera]);
      const labels = await watch(camera, ["mask"]);

      expect(labels).toContain("mask");
    },
  );
});
