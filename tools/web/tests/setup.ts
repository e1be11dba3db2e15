/** Before all tests: build the page, and have Python make the pictures of the scene. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "vite";
import type { TestProject } from "vitest/node";
import { chromiumMissing } from "./browser";
import { fixtures } from "./python";

declare module "vitest" {
  interface ProvidedContext {
    /** Folder with pictures/, camera.mjpeg and clip.webm. */
    scene: string;
  }
}

export default async function setup(project: TestProject): Promise<() => void> {
  if (chromiumMissing())
    console.warn("tests in a browser are skipped: apt-get install chromium, or CHROMIUM=/path/to/it");
  await build({ logLevel: "warn", configFile: join(import.meta.dirname, "../vite.config.ts") });
  const folder = mkdtempSync(join(tmpdir(), "maskwatch-web-"));
  fixtures("pictures", join(folder, "pictures"));
  fixtures("clip", join(folder, "camera.mjpeg"));
  fixtures("webm", join(folder, "clip.webm"));
  project.provide("scene", folder);
  return () => rmSync(folder, { recursive: true, force: true });
}
