/** The repository's Python, which knows what the page must agree with. */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";

export const ROOT = resolve(import.meta.dirname, "../../..");
export const PYTHON = resolve(ROOT, ".venv/bin/python");

/** Run a command of the repository's environment in its root; gives its output. */
export function python(words: readonly string[]): string {
  if (!existsSync(PYTHON)) throw new Error(`${PYTHON} is missing: run make check once, which installs it`);
  try {
    return execFileSync(PYTHON, words, {
      cwd: ROOT,
      env: { ...process.env, PYTHONPATH: ROOT },
      encoding: "utf8",
      maxBuffer: 1 << 26,
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    const { status, stderr } = error as { status: number; stderr: string };
    throw new Error(`python ${words.join(" ")}: ${status}\n${stderr}`);
  }
}

export function fixtures(kind: string, out: string): void {
  python(["tools/web/tests/fixtures.py", kind, out]);
}
