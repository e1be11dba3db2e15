/** The page against `maskwatch inspect`: the same PNG files, the same boxes, the same probabilities. */

import { existsSync, mkdtempSync, readdirSync } from "node:fs";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import type { Row } from "../src/core/journal";
import { chromiumMissing, downloadRows, launch, open, serve } from "./browser";
import { fixtures, python, ROOT } from "./python";

const BOX_PX = 1;
const PROBABILITY = 2 / 256;

interface InspectFace {
  box: [number, number, number, number];
  score: number;
  accepted: boolean;
  label: string;
  reason: string | null;
  p: Record<string, number>;
}

describe.skipIf(chromiumMissing())("the page and maskwatch inspect", () => {
  let browser: Browser;
  let served: { url: string; server: Server };

  beforeAll(async () => {
    served = await serve();
    browser = await launch();
  });

  afterAll(async () => {
    await browser.close();
    served.server.close();
  });

  /** Show the pictures of a folder to both; give how far they are apart and how many faces there were. */
  async function compare(folder: string) {
    const files = readdirSync(folder).sort();
    const paths = files.map((file) => join(folder, file));
    const said = python(["-m", "agent", "inspect", "--json", ...paths]);
    const page = await open(await browser.newContext({ acceptDownloads: true }), served.url);
    await page.setInputFiles("#files", paths);
    await page.locator("#status", { hasText: `${files.length} pictures looked at` }).waitFor({ timeout: 60_000 });
    const rows = await downloadRows(page);
    await page.context().close();
    return apart(said, rows);
  }

  function apart(said: string, rows: Row[]) {
    const found = { faces: 0, box: 0, probability: 0, score: 0, labels: new Set<string>(), reasons: new Set<string>() };
    const other: string[] = [];
    for (const line of said.trim().split("\n")) {
      const picture = JSON.parse(line) as { path: string; faces: InspectFace[] };
      const name = basename(picture.path);
      const theirs = picture.faces.filter(({ accepted }) => accepted);
      const ours = rows.filter(({ source }) => source === name);
      if (ours.length !== theirs.length) other.push(`${name}: ${ours.length} faces here, ${theirs.length} there`);
      theirs.forEach((face, index) => {
        const row = ours[index];
        if (row === undefined) return;
        if (row.label !== face.label || row.reason !== face.reason) {
          other.push(`${name}: ${row.label} ${row.reason} here, ${face.label} ${face.reason} there`);
        }
        found.faces++;
        found.labels.add(row.label);
        if (row.reason !== null) found.reasons.add(row.reason);
        found.score = Math.max(found.score, Math.abs(row.score - face.score));
        found.box = Math.max(found.box, ...face.box.map((side, at) => Math.abs(side - (row.box[at] as number))));
        for (const [label, p] of Object.entries(row.p)) {
          found.probability = Math.max(found.probability, Math.abs(p - (face.p[label] as number)));
        }
      });
    }
    return { ...found, other };
  }

  test("say the same of the scene: small, large, tiled, shrunk, dark, blurred, grey, lying on its side", async () => {
    const found = await compare(join(inject("scene"), "pictures"));
    console.log(`scene: ${JSON.stringify({ ...found, labels: [...found.labels], reasons: [...found.reasons] })}`);

    expect(found.other).toEqual([]);
    expect(found.faces).toBeGreaterThan(15);
    expect(found.labels).toEqual(new Set(["mask", "no_mask", "unsure"]));
    expect(found.reasons).toEqual(new Set(["dark", "undecided"])); // of the blurred scene the net is sure
    expect(found.box).toBeLessThanOrEqual(BOX_PX);
    expect(found.probability).toBeLessThanOrEqual(PROBABILITY);
  });

  const shared = existsSync(join(ROOT, "../shared/data/pictures"));
  test.skipIf(!shared)("say the same of pictures of ../shared, where that is there", async () => {
    const folder = mkdtempSync(join(tmpdir(), "maskwatch-shared-"));
    fixtures("shared", folder);
    const found = await compare(folder);
    console.log(`shared: ${JSON.stringify({ ...found, labels: [...found.labels], reasons: [...found.reasons] })}`);

    expect(found.other).toEqual([]);
    expect(found.faces).toBeGreaterThan(40);
    expect(found.box).toBeLessThanOrEqual(BOX_PX);
    expect(found.probability).toBeLessThanOrEqual(PROBABILITY);
  });
});
