/** How fast it goes: the rate of the last frames and where their milliseconds went. */

import type { Finding } from "../core/examine";
import { median } from "../core/position";
import { at } from "./dom";
import type { Text } from "./text";

const REMEMBER_MS = 2000;

type Times = Finding["ms"];

/** The frames of the last two seconds. */
export class Pace {
  #frames: (Times & { readonly at: number })[] = [];

  /** nowMs: when the frame was done. */
  add(ms: Times, nowMs: number): void {
    this.#frames = [...this.#frames, { ...ms, at: nowMs }].filter((frame) => nowMs - frame.at <= REMEMBER_MS);
  }

  /** Show their rate and the medians of their times. */
  draw(text: Text): void {
    const span = (this.#frames.at(-1)?.at ?? 0) - (this.#frames[0]?.at ?? 0);
    const of = (part: keyof Times) => median(this.#frames.map((frame) => frame[part]));
    drawTimes(text, { read: of("read"), detect: of("detect"), classify: of("classify") });
    at("pace").hidden = false;
    at("fps").textContent = span > 0 ? text.number((1000 * (this.#frames.length - 1)) / span, 1) : "–";
  }
}

/** Show where the milliseconds of one picture went; it has no rate. */
export function drawTimes(text: Text, { read, detect, classify }: Times): void {
  at("meter").hidden = false;
  at("pace").hidden = true;
  at("ms").textContent = text.number(read + detect + classify, 1);
  at("ms-detect").textContent = text.number(detect, 1);
  at("ms-classify").textContent = text.number(classify, 1);
}
