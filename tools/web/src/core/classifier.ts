/** A look at a face: cut it out, ask the net, say how sure it is and whether such a picture can be trusted at all. */

import { cropFace, measure } from "./crop";
import type { Invoke } from "./detector";
import {
  type Abstain,
  type ClassifierManifest,
  LABELS,
  type Label,
  type Reason,
  type Tensor,
  type Verdict,
} from "./manifest";
import { type Box, type Picture, sizePx } from "./picture";

/** What the classifier saw in one face. probs: in the order of LABELS; they sum to 1. */
export interface Look {
  readonly probs: readonly [number, number, number];
  readonly sharpness: number;
  readonly brightness: number;
  readonly facePx: number;
}

/** What follows from one look. confidence: of the likeliest label; reason: only with unsure. */
export interface Decision {
  readonly label: Verdict;
  readonly confidence: number;
  readonly reason: Reason | null;
}

export class MaskClassifier {
  readonly manifest: ClassifierManifest;
  readonly #invoke: Invoke;
  readonly #size: number;
  readonly #step: number;

  constructor(manifest: ClassifierManifest, invoke: Invoke) {
    this.manifest = manifest;
    this.#invoke = invoke;
    this.#size = manifest.net.input.shape[1] as number;
    this.#step = (manifest.net.outputs.logits as Tensor).scale / manifest.temperature;
  }

  async look(picture: Picture, box: Box): Promise<Look> {
    const face = cropFace(picture, box, this.manifest.crop_scale, this.#size);
    const { logits } = await this.#invoke(face.rgb);
    return { probs: softmax(logits as Int8Array, this.#step), ...measure(face), facePx: sizePx(box) };
  }
}

/** Give probabilities from int8 logits. step: the output's scale by the temperature; the zero point cancels out. */
export function softmax(raw: Int8Array, step: number): [number, number, number] {
  const top = Math.max(...raw);
  const [a, b, c] = Array.from(raw, (value) => Math.exp((value - top) * step)) as [number, number, number];
  const total = a + b + c;
  return [a / total, b / total, c / total];
}

/** Decide from a single look: its likeliest label, or unsure and the first reason that holds. */
export function decide(look: Look, abstain: Abstain): Decision {
  const confidence = Math.max(...look.probs);
  const reason = distrust(look, confidence, abstain);
  const label = LABELS[look.probs.indexOf(confidence)] as Label;
  return { label: reason === null ? label : "unsure", confidence, reason };
}

function distrust(look: Look, confidence: number, abstain: Abstain): Reason | null {
  if (look.facePx < abstain.face_px) return "too_small";
  if (look.brightness < abstain.brightness) return "dark";
  if (look.sharpness < abstain.sharpness) return "blurred";
  return confidence < abstain.confidence ? "undecided" : null;
}
