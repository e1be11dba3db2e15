/** The built page on a server that knows nothing but files, and a Chromium that looks at it. */

import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize, resolve } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import type { Row } from "../src/core/journal";

export const DIST = resolve(import.meta.dirname, "../dist");
const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".txt": "text/plain",
  ".webp": "image/webp",
  ".webmanifest": "application/manifest+json",
};
const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** The browser of this machine, or undefined. */
export function chromiumPath(): string | undefined {
  return [process.env.CHROMIUM ?? "", ...PLACES].find((path) => path !== "" && existsSync(path));
}

/** Whether there is no browser; setup.ts says so. */
export function chromiumMissing(): boolean {
  return chromiumPath() === undefined;
}

/** Serve dist/ below /some/where/, without a single header of the page's own. */
export async function serve(): Promise<{ url: string; server: Server; asked: string[] }> {
  if (!existsSync(join(DIST, "index.html"))) throw new Error("dist/ is missing: make web");
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://host").pathname;
    asked.push(`${request.method} ${path}`);
    const name = path.replace(/^\/some\/where\//, "").replace(/^$/, "index.html");
    const file = join(DIST, normalize(name));
    if (!path.startsWith("/some/where/") || !file.startsWith(DIST) || !existsSync(file)) {
      response.writeHead(404).end();
    } else {
      response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
      response.end(readFileSync(file));
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/some/where/`, server, asked };
}

/** Start Chromium. camera: a motion JPEG that it takes for its webcam. */
export function launch(camera?: string): Promise<Browser> {
  const path = chromiumPath();
  if (path === undefined) throw new Error("no Chromium: apt-get install chromium");
  const webcam = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];
  return chromium.launch({
    executablePath: path,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      ...(camera === undefined ? [] : [...webcam, `--use-file-for-fake-video-capture=${camera}`]),
    ],
  });
}

/** Open the page and wait until its nets are ready. */
export async function open(context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(url);
  await page.locator('html[data-ready="true"]').waitFor({ timeout: 30_000 });
  return page;
}

/** Download the log as the page gives it. */
export async function downloadText(page: Page, kind: "json" | "csv"): Promise<string> {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(`#${kind}`)]);
  return readFileSync(await download.path(), "utf8");
}

export async function downloadRows(page: Page): Promise<Row[]> {
  return JSON.parse(await downloadText(page, "json")) as Row[];
}
