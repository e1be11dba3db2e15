/** The repository's Python, which knows what the page must agree with. */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";

export const ROOT = resolve(import.meta.dirname, "../../..");
export const PYTHON = resolve(ROOT, ".venv/bin/python");

/** Run a command of the repository's environment; gives its output. allowed: exit codes that are no failure. */
export function python(words: readonly string[], allowed: readonly number[] = [0]): string {
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
    const { status, stdout } = error as { status: number; stdout: string };
    if (allowed.includes(status)) return stdout;
    throw error;
  }
}

export function fixtures(kind: string, out: string): void {
  python(["tools/web/tests/fixtures.py", kind, out]);
}
