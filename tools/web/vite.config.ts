/** How the page is built: static files that any host serves, from any folder, with one WASM variant of LiteRT. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const ROOT = import.meta.dirname;
const LITERT = resolve(ROOT, "node_modules/@litertjs/core/wasm");
// The variant without relaxed SIMD: it runs in every browser, and its numbers do not depend on the machine.
const VARIANT = ["litert_wasm_compat_internal.js", "litert_wasm_compat_internal.wasm"];

/** What the page may do. blob: a worker of the page's own text, which has this policy too, and pictures of the user. */
export const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self' blob:",
  "connect-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob:",
  "media-src 'self' blob:",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

export default defineConfig({
  root: ROOT,
  base: "./",
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  worker: { format: "iife" },
  preview: { host: "127.0.0.1", port: 8788, strictPort: true, headers: { "Content-Security-Policy": POLICY } },
  plugins: [policy(), runtime(), offline()],
  test: {
    include: ["tests/*.test.ts"],
    globalSetup: "tests/setup.ts",
    testTimeout: 60_000,
    hookTimeout: 120_000,
    fileParallelism: false,
  },
});

function policy(): Plugin {
  return { name: "policy", transformIndexHtml: (html) => html.replace("%POLICY%", POLICY) };
}

/** Put LiteRT's files beside the page, and the licence that it is under, as we are. */
function runtime(): Plugin {
  return {
    name: "runtime",
    apply: "build",
    generateBundle() {
      for (const file of VARIANT) {
        this.emitFile({ type: "asset", fileName: `litert/${file}`, source: readFileSync(join(LITERT, file)) });
      }
      const { version } = JSON.parse(readFileSync(join(LITERT, "../package.json"), "utf8")) as { version: string };
      const notice = `This page contains LiteRT.js ${version}, Copyright Google LLC, under the same licence:\n\n`;
      const source = notice + readFileSync(resolve(ROOT, "../../LICENSE"), "utf8");
      this.emitFile({ type: "asset", fileName: "licence.txt", source });
    },
  };
}

/** Write the service worker with the list of all files; its name for the cache is the digest of their contents. */
function offline(): Plugin {
  return {
    name: "offline",
    apply: "build",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const digest = createHash("sha256");
        const files = ["./"];
        for (const [name, part] of Object.entries(bundle).sort(([one], [other]) => (one < other ? -1 : 1))) {
          if (name !== "index.html") files.push(`./${name}`);
          digest.update(name).update(part.type === "chunk" ? part.code : part.source);
        }
        const folder = resolve(ROOT, "public");
        for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
          if (!/\.\w+$/.test(name)) continue;
          files.push(`./${name}`);
          digest.update(name).update(readFileSync(join(folder, name)));
        }
        const source = readFileSync(resolve(ROOT, "src/sw.js"), "utf8")
          .replace("__FILES__", JSON.stringify(files, null, 1))
          .replace("__VERSION__", JSON.stringify(digest.digest("hex").slice(0, 16)));
        this.emitFile({ type: "asset", fileName: "sw.js", source });
      },
    },
  };
}
