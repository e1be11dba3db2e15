/** Does this camera position work? The words and numbers of `maskwatch check --aim` (agent/cli/aim.py). */

import type { Look } from "./classifier";
import { type Abstain, agent, promise } from "./manifest";

export type Position = "no_face" | "too_small" | "dark" | "blurred" | "good";

/** sizes, brightness and sharpness: medians, where not said otherwise. */
export interface Judgement {
  readonly verdict: Position;
  readonly looks: number;
  readonly smallest: number;
  readonly largest: number;
  readonly size: number;
  readonly brightness: number;
  readonly sharpness: number;
  /** Per cent of faces of this size that the classifier had right in its validation; null below all that was measured. */
  readonly promised: number | null;
  /** The least size that gets an answer, px. */
  readonly needed: number;
}

/** Say how a position is from looks at faces. */
export function judge(looks: readonly Look[], abstain: Abstain): Judgement {
  const needed = Math.max(agent.min_face_px, abstain.face_px);
  const sizes = looks.map(({ facePx }) => facePx);
  const size = median(sizes);
  const brightness = median(looks.map((look) => look.brightness));
  const sharpness = median(looks.map((look) => look.sharpness));
  let verdict: Position = "good";
  if (looks.length === 0) verdict = "no_face";
  else if (size < needed) verdict = "too_small";
  else if (brightness < abstain.brightness) verdict = "dark";
  else if (sharpness < abstain.sharpness) verdict = "blurred";
  return {
    verdict,
    looks: looks.length,
    smallest: Math.min(...sizes),
    largest: Math.max(...sizes),
    size,
    brightness,
    sharpness,
    promised: promisedAt(size),
    needed,
  };
}

/** What was measured for faces of this size: for the largest measured size that is not larger. */
export function promisedAt(facePx: number): number | null {
  return promise.findLast(({ px }) => px <= facePx)?.percent ?? null;
}

/** Sort face sizes into the sizes that were measured. Gives as many counts as there are promises, the first for all below. */
export function bySize(looks: readonly Look[]): number[] {
  const counts = new Array<number>(promise.length + 1).fill(0);
  for (const { facePx } of looks) {
    const slot = promise.findLastIndex(({ px }) => px <= facePx) + 1;
    counts[slot] = (counts[slot] as number) + 1;
  }
  return counts;
}

/** Looks of the last seconds, or of all pictures since `clear`; the newest push out the oldest. */
export class Looks {
  #held: { readonly atMs: number; readonly look: Look }[] = [];

  /** atMs: of a live picture, which is forgotten after a while; Infinity for one that stays. */
  add(looks: readonly Look[], atMs: number): void {
    this.#held.push(...looks.map((look) => ({ atMs, look })));
    const oldest = Number.isFinite(atMs) ? atMs - agent.aim_remember_s * 1000 : Number.NEGATIVE_INFINITY;
    this.#held = this.#held.filter((one) => one.atMs >= oldest).slice(-agent.aim_looks_max);
  }

  clear(): void {
    this.#held = [];
  }

  get all(): Look[] {
    return this.#held.map(({ look }) => look);
  }
}

/** The mean of the two middle values where there are two; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? Number.NaN) + upper) / 2;
}
