/** The built page in Chromium, as people use it: pictures, clips, the log, languages, keyboard, errors, no network. */

import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, join } from "node:path";
import axe from "axe-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { chromiumMissing, DIST, downloadRows, downloadText, launch, open, serve } from "./browser";

const DESKTOP: BrowserContextOptions = { viewport: { width: 1280, height: 900 }, locale: "en-GB" };
const PHONE: BrowserContextOptions = { viewport: { width: 390, height: 844 }, locale: "en-GB", isMobile: true };

describe.skipIf(chromiumMissing())("the page", () => {
  let browser: Browser;
  let served: Awaited<ReturnType<typeof serve>>;
  let page: Page;
  let errors: string[] = [];
  let mayComplain = false;

  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(() => browser.close());

  beforeEach(async () => {
    served = await serve();
    page = await fresh(DESKTOP);
    mayComplain = false;
  });
  afterEach(async () => {
    const seen = errors;
    errors = [];
    await Promise.all(browser.contexts().map((context) => context.close()));
    await new Promise((done) => served.server.close(done));
    if (!mayComplain) expect(seen).toEqual([]);
  });

  async function fresh(options: BrowserContextOptions): Promise<Page> {
    const context = await browser.newContext({ acceptDownloads: true, ...options });
    context.on("weberror", (error) => errors.push(String(error.error())));
    context.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    return open(context, served.url);
  }

  function picture(name: string): string {
    return join(inject("scene"), "pictures", name);
  }

  function status(): Promise<string | null> {
    return page.locator("#status").textContent();
  }

  async function showExample(): Promise<void> {
    await page.click("#example");
    await page.locator(".face").nth(2).waitFor();
  }

  function problems(): Promise<string[]> {
    return page.locator(".problem > span").allTextContents();
  }

  test("says of the example what is to be seen: two masks, one bare face", async () => {
    await showExample();

    expect((await page.locator(".face .said").allTextContents()).sort()).toEqual(["mask", "mask", "no mask"]);
    const label = (await page.locator("#picture").getAttribute("aria-label")) ?? "";
    expect(label).toMatch(/^example: 3 faces, (no )?mask \d+%, (no )?mask \d+%, (no )?mask \d+%$/);
    expect(await status()).toBe("example: 3 faces.");
    expect(await page.locator("#verdict").getAttribute("data-verdict")).toBe("good");
  });

  test("takes pictures that are dropped, and shows one of them again from the strip", async () => {
    const names = ["scene-640-035.png", "scene-300-055.png"];
    const data = names.map((name) => readFileSync(picture(name)).toString("base64"));
    await page.evaluate(
      ([names, data]) => {
        const transfer = new DataTransfer();
        names.forEach((name, index) => {
          const bytes = Uint8Array.from(atob(data[index] ?? ""), (letter) => letter.charCodeAt(0));
          transfer.items.add(new File([bytes], name, { type: "image/png" }));
        });
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
      },
      [names, data] as const,
    );
    await page.locator("#status", { hasText: "2 pictures looked at" }).waitFor();
    expect(await page.locator("#picture").getAttribute("aria-label")).toMatch(/^scene-300-055\.png: /);

    await page.locator("#strip button").first().click();
    await page.locator('#picture[aria-label^="scene-640-035.png: "]').waitFor();
    expect(await page.locator('#strip button[aria-current="true"]').getAttribute("title")).toBe("scene-640-035.png");
    const seen = new Set((await downloadRows(page)).map(({ source }) => source));
    expect(seen).toEqual(new Set(names)); // shown again is not said again
  });

  test("gives the reason with unsure, and tells what the position lacks", async () => {
    await page.setInputFiles("#files", picture("dark.png"));
    await page.locator(".face .said.unsure").first().waitFor();

    expect(await page.locator(".face .more").first().textContent()).toMatch(/ · too dark$/);
    expect(await page.locator("#verdict").textContent()).toBe("Too dark. More light on the faces, not behind them.");
  });

  test("counts a face where its size stands in the model card's table", async () => {
    await page.setInputFiles("#files", picture("scene-300-055.png"));
    await page.locator(".face").first().waitFor();
    const sizes = (await downloadRows(page)).map(({ face_px }) => face_px);

    const counts = await page
      .locator("#sizes tbody tr")
      .evaluateAll((rows) =>
        rows.map((row) => [row.children[0]?.textContent ?? "", Number(row.children[1]?.textContent ?? 0)] as const),
      );
    const counted = Object.fromEntries(counts.filter(([, count]) => count > 0));
    const expected: Record<string, number> = {};
    const edges = [10, 12, 16, 20, 24, 32, 48];
    for (const size of sizes) {
      const at = edges.findLastIndex((edge) => edge <= size);
      const name = at === edges.length - 1 ? "48 and up" : `${edges[at]} to ${edges[at + 1]}`;
      expected[name] = (expected[name] ?? 0) + 1;
    }
    expect(counted).toEqual(expected);
  });

  test("plays a clip, counts its frames, notes it once a second, and says when it is over", async () => {
    await page.setInputFiles("#files", join(inject("scene"), "clip.webm"));
    await page.locator("#status", { hasText: "clip.webm is over." }).waitFor({ timeout: 30_000 });
    const rows = await downloadRows(page);

    expect(Number(await page.locator("#fps").textContent())).toBeGreaterThan(0);
    expect(rows.length).toBeGreaterThan(2);
    expect(new Set(rows.map(({ label }) => label))).toContain("mask");
    for (const { source } of rows) expect(source).toMatch(/^clip\.webm \d\.\d s$/);
    expect(new Set(rows.map(({ source }) => source)).size).toBeLessThanOrEqual(6);
  });

  test("can be stopped at any moment, and begun anew", async () => {
    const clip = join(inject("scene"), "clip.webm");
    for (let round = 0; round < 6; round++) {
      await page.setInputFiles("#files", clip);
      await page.locator("#stop").waitFor();
      if (round % 2 === 1) await page.locator("#picture").waitFor();
      await page.click("#stop");
      expect(await status()).toBe("Stopped.");
      expect(await page.locator("#stop").isVisible()).toBe(false);
    }
    await page.setInputFiles("#files", clip);
    await page.setInputFiles("#files", picture("scene-2304-015.png")); // while the clip is being opened
    await page.setInputFiles("#files", picture("scene-640-035.png")); // while that is looked at
    await page.locator("#status", { hasText: "scene-640-035.png: " }).waitFor();

    expect(await page.locator("#picture").getAttribute("aria-label")).toMatch(/^scene-640-035\.png: /);
    expect(await problems()).toEqual([]);
    expect((await downloadRows(page)).filter(({ source }) => source.startsWith("scene-2304"))).toEqual([]);
  });

  test("looks closer at pictures and not at clips, unless it is told otherwise", async () => {
    const closely = page.locator("#closely");
    const show = async (path: string) => {
      await page.setInputFiles("#files", path);
      await page
        .locator("#status", { hasText: new RegExp(`Watching ${basename(path)}|${basename(path)}: `) })
        .waitFor();
      return closely.isChecked();
    };

    expect(await show(picture("scene-640-035.png"))).toBe(true);
    expect(await show(join(inject("scene"), "clip.webm"))).toBe(false);
    expect(await show(picture("scene-640-035.png"))).toBe(true);
    await closely.uncheck();
    expect(await show(picture("scene-640-055.png"))).toBe(false);
  });

  test("leaves a clip out that comes with pictures, and says so", async () => {
    await page.setInputFiles("#files", [join(inject("scene"), "clip.webm"), picture("scene-640-035.png")]);
    await page.locator(".face").first().waitFor();

    expect(await problems()).toEqual(["clip.webm: left out; show a clip by itself."]);
  });

  test("shows pictures without asking anybody anything", async () => {
    const asked: string[] = [];
    const context = await browser.newContext({ ...DESKTOP, acceptDownloads: true });
    context.on("request", (request) => asked.push(request.url()));
    page = await open(context, served.url);
    await page.locator('html[data-offline="true"]').waitFor();
    console.log(`asked for while loading:\n${asked.map((url) => url.replace(served.url, "./")).join("\n")}`);
    expect(asked.filter((url) => !url.startsWith(served.url) && !url.startsWith("blob:"))).toEqual([]);
    for (const list of [asked, served.asked]) {
      expect(list.filter((line) => line.endsWith(".wasm")).length).toBeGreaterThan(0); // a request would be seen
      list.length = 0;
    }

    await page.setInputFiles("#files", [picture("scene-640-035.png"), picture("dark.png")]);
    await page.locator("#status", { hasText: "2 pictures looked at" }).waitFor();
    await page.setInputFiles("#files", join(inject("scene"), "clip.webm"));
    await page.locator("#status", { hasText: "clip.webm is over." }).waitFor({ timeout: 30_000 });
    await downloadText(page, "csv");

    expect(asked.filter((url) => !url.startsWith("blob:"))).toEqual([]);
    expect(served.asked).toEqual([]);
  });

  const guards = [
    ["the policy alone", "block"],
    ["the service worker too", "allow"],
  ] as const;
  test.each(guards)("cannot be made to send anything, by page or worker: %s", async (_, serviceWorkers) => {
    mayComplain = true; // the browser reports each refusal
    page = await fresh({ ...DESKTOP, serviceWorkers });
    let reached = 0;
    const stranger: Server = createServer((_, response) => {
      reached++;
      response.writeHead(200, { "Access-Control-Allow-Origin": "*" }).end("x");
    });
    await new Promise<void>((done) => stranger.listen(0, "127.0.0.1", done));
    const url = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}/`;
    const send = (url: string) =>
      fetch(url, { method: "POST", body: "a picture" }).then(
        () => "sent",
        () => "refused",
      );
    try {
      expect((await fetch(url)).ok).toBe(true); // from outside the page it can be reached
      reached = 0;
      expect(await page.evaluate(send, url)).toBe("refused");
      const workers = page.workers();
      expect(workers).toHaveLength(1);
      for (const worker of workers) expect(await worker.evaluate(send, url)).toBe("refused");
      const beacon = await page.evaluate((url) => {
        navigator.sendBeacon(url, "a picture");
        return new Promise((done) => {
          const image = new Image();
          image.onload = () => done("loaded");
          image.onerror = () => done("refused");
          image.src = `${url}?picture`;
        });
      }, url);
      expect(beacon).toBe("refused");
      expect(reached).toBe(0);
    } finally {
      stranger.close();
    }
  });

  test("works without a network after the first visit", async () => {
    await page.locator('html[data-offline="true"]').waitFor();
    await page.reload(); // under the service worker now
    await page.locator('html[data-ready="true"]').waitFor();
    served.server.closeAllConnections();
    await new Promise((done) => served.server.close(done));
    await page.context().setOffline(true);
    const before = served.asked.length;

    await page.reload();
    await page.locator('html[data-ready="true"]').waitFor();
    await showExample();

    expect(await status()).toBe("example: 3 faces.");
    expect(await page.locator("#offline").textContent()).toBe("Ready for use without a network");
    expect(served.asked.length).toBe(before);
    await page.context().setOffline(false);
    await new Promise<void>((done) => served.server.listen(0, "127.0.0.1", done));
  });

  test("keeps a log that can be filtered, downloaded and cleared", async () => {
    await showExample();
    const rows = await downloadRows(page);
    const csv = await downloadText(page, "csv");

    expect(rows.map(({ label }) => label).sort()).toEqual(["mask", "mask", "no_mask"]);
    expect(csv.trim().split("\r\n")).toHaveLength(4);
    expect(csv).toMatch(
      /^time,source,label,confidence,reason,face_px,score,mask,no_mask,incorrect,x0,y0,x1,y1,width,height\r\n/,
    );

    await page.selectOption("#filter", "no_mask");
    expect(await page.locator("#rows tbody tr").count()).toBe(1);
    expect(await downloadRows(page)).toHaveLength(1);

    await page.selectOption("#filter", "");
    await page.click("#clear");
    expect(await page.locator("#rows tbody tr").count()).toBe(0);
    expect(await page.locator("#csv").isDisabled()).toBe(true);
  });

  test("speaks Spanish when it is chosen, and next time too", async () => {
    await showExample();
    await page.selectOption("#language", "es");

    expect(await page.locator("html").getAttribute("lang")).toBe("es");
    expect(await page.locator("h1").textContent()).toBe("Pruébelo en su navegador");
    expect(new Set(await page.locator(".face .said").allTextContents())).toEqual(
      new Set(["con mascarilla", "sin mascarilla"]),
    );
    expect(await page.locator("#verdict-word").textContent()).toBe("Bien.");
    expect(await status()).toBe("example: 3 caras."); // the file keeps the name that it had
    await page.reload();
    expect(await page.locator("h1").textContent()).toBe("Pruébelo en su navegador");
  });

  test("speaks the browser's language at the first visit", async () => {
    const theirs = await fresh({ ...DESKTOP, locale: "es-MX" });

    expect(await theirs.locator("#choose").textContent()).toBe("Elegir imágenes o un vídeo");
  });

  test("has all its words in both languages", async () => {
    for (const language of ["en", "es"]) {
      await page.selectOption("#language", language);
      const empty = await page
        .locator("[data-t]")
        .evaluateAll((elements) =>
          elements.filter((element) => element.textContent === "").map((element) => element.getAttribute("data-t")),
        );
      expect(empty).toEqual([]);
    }
  });

  test("can be used by the keyboard alone", async () => {
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.className)).toBe("skip");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("example");
    await page.keyboard.press("Enter");
    await page.locator(".face").nth(2).waitFor();
    await page.locator("#choose").focus();
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press("Space")]);
    expect(chooser.isMultiple()).toBe(true);
  });

  const broken: [name: string, content: () => Buffer, says: RegExp][] = [
    ["noise.png", () => Buffer.from("this is no picture"), /^noise\.png: damaged, or not a picture that/],
    ["empty.jpg", () => Buffer.alloc(0), /^empty\.jpg: damaged, or not a picture that/],
    ["cut.png", () => readFileSync(picture("dark.png")).subarray(0, 40), /^cut\.png: damaged, or not a picture that/],
    ["noise.mp4", () => Buffer.from("this is no clip"), /^noise\.mp4: damaged, or not a clip that/],
    ["notes.txt", () => Buffer.from("notes"), /^notes\.txt: neither a picture nor a clip/],
  ];
  test.each(broken)("tells of %s in one line, and goes on", async (name, content, says) => {
    mayComplain = true; // Chromium logs a clip that it cannot play
    const path = join(inject("scene"), name);
    writeFileSync(path, content());
    await page.setInputFiles("#files", path);
    await page.locator(".problem").waitFor();

    const told = await problems();
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(says);
    expect(told[0]).not.toContain("\n");
    await page.setInputFiles("#files", [picture("scene-640-035.png")]);
    await page.locator(".face").first().waitFor();
    expect(await problems()).toEqual([]);
  });

  test("a damaged picture among good ones costs only itself", async () => {
    const path = join(inject("scene"), "bad.png");
    writeFileSync(path, "not a picture");
    await page.setInputFiles("#files", [picture("scene-640-035.png"), path, picture("scene-640-055.png")]);
    await page.locator("#status", { hasText: "2 pictures looked at" }).waitFor();

    expect(await problems()).toHaveLength(1);
    expect(await page.locator("#strip button").count()).toBe(2);
  });

  test("says in one line that there is no webcam", async () => {
    await page.click("#webcam");
    await page.locator(".problem").waitFor();

    expect((await problems())[0]).toMatch(/^(No webcam was found|The webcam may not be used)/);
  });

  function twin(name: string): Buffer {
    return readFileSync(join(DIST, "models", name));
  }

  const WEIGHTS = [112_000, 125_000] as const; // bytes within one of the detector's largest kernels
  const wrong: [name: string, status: number, body: () => Buffer, says: RegExp][] = [
    ["a net that is missing", 404, () => Buffer.alloc(0), /\(face-320\.tflite: 404/],
    ["another net in its place", 200, () => twin("mask-64.tflite"), /\(face-320\.tflite: /],
    ["a net with other weights", 200, () => twin("face-320.tflite").fill(77, ...WEIGHTS), /golden inputs \d+ steps/],
  ];
  test.each(wrong)("refuses %s, in one line", async (_, status, body, says) => {
    mayComplain = true;
    const context = await browser.newContext({ ...DESKTOP, serviceWorkers: "block" });
    await context.route("**/face-320.tflite", (route) => route.fulfill({ status, body: body() }));
    page = await context.newPage();
    await page.goto(served.url);
    await page.locator(".problem").waitFor();

    const told = await problems();
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/^The nets cannot be used here \(/);
    expect(told[0]).toMatch(says);
    expect(await page.locator("html").getAttribute("data-ready")).toBeNull();
  });

  test("stays awake while the nets work: the page goes on painting", async () => {
    await page.evaluate(() => {
      const painted = { count: 0 };
      const paint = () => {
        painted.count++;
        requestAnimationFrame(paint);
      };
      Object.assign(window, { painted });
      requestAnimationFrame(paint);
    });
    const painted = () => page.evaluate(() => (window as unknown as { painted: { count: number } }).painted.count);
    await page.setInputFiles("#files", picture("scene-2304-015.png"));
    await page.locator("#status", { hasText: "Looking at scene-2304-015.png" }).waitFor();
    const before = await painted();
    await page.locator("#status", { hasText: "scene-2304-015.png: " }).waitFor();

    expect((await painted()) - before).toBeGreaterThan(5); // sixty tiles; a busy page would have painted one or two
  });

  const looks: [name: string, options: BrowserContextOptions, language: string][] = [
    ["light", { ...DESKTOP, colorScheme: "light" }, "en"],
    ["dark", { ...DESKTOP, colorScheme: "dark" }, "en"],
    ["phone", { ...PHONE, colorScheme: "light" }, "es"],
  ];
  test.each(looks)("axe finds nothing to say against it: %s", async (_, options, language) => {
    const theirs = await fresh(options);
    await theirs.selectOption("#language", language);
    for (const shown of [false, true]) {
      if (shown) {
        await theirs.setInputFiles("#files", [picture("dark.png"), picture("scene-640-035.png")]);
        await theirs.locator("#strip button").nth(1).waitFor();
      }
      await theirs.evaluate(axe.source);
      const { violations, passes } = await theirs.evaluate(() => {
        return (window as unknown as { axe: typeof axe }).axe.run();
      });
      expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`)).toEqual([]);
      expect(passes.length).toBeGreaterThan(20);
    }
  });

  test("fits a phone: nothing is wider than the screen", async () => {
    const phone = await fresh(PHONE);
    await phone.setInputFiles("#files", picture("scene-1280-060.png"));
    await phone.locator(".face").first().waitFor();

    expect(await phone.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  });
});
