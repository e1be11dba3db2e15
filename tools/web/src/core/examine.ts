/** What the page says of one picture: the faces that `maskwatch inspect` accepts, and each with the agent's decision. */

import { type Decision, decide, type Look, type MaskClassifier } from "./classifier";
import type { FaceDetector } from "./detector";
import { agent } from "./manifest";
import { type Box, type Picture, sizePx } from "./picture";
import { findClosely } from "./tiles";

export interface FoundFace {
  readonly box: Box;
  readonly score: number;
  readonly look: Look;
  readonly decision: Decision;
  /** Large enough for the agent; smaller ones only tell where the camera should be. */
  readonly followed: boolean;
}

export interface Finding {
  readonly width: number;
  readonly height: number;
  /** Best first. */
  readonly faces: readonly FoundFace[];
  /** Mean of all channels, 0..255. */
  readonly light: number;
  /** read: from file or frame to pixels. */
  readonly ms: { readonly read: number; readonly detect: number; readonly classify: number };
}

/** Look at one picture. readMs: what it took to get it. closely: as `maskwatch inspect` does for pictures; a live board does not. */
export async function examine(
  picture: Picture,
  nets: { detector: FaceDetector; closer: readonly FaceDetector[]; classifier: MaskClassifier },
  closely: boolean,
  readMs: number,
): Promise<Finding> {
  const { detector, closer, classifier } = nets;
  const begun = performance.now();
  const floor = detector.manifest.score_threshold;
  const found = closely
    ? await findClosely([detector, ...closer], picture, floor)
    : await detector.find(picture, floor);
  const detected = performance.now();
  const faces: FoundFace[] = [];
  for (const { box, score } of found) {
    if (sizePx(box) < agent.aim_smallest_px) continue;
    const look = await classifier.look(picture, box);
    const decision = decide(look, classifier.manifest.abstain);
    faces.push({ box, score, look, decision, followed: sizePx(box) >= agent.min_face_px });
  }
  return {
    width: picture.width,
    height: picture.height,
    faces,
    light: meanLight(picture),
    ms: { read: readMs, detect: detected - begun, classify: performance.now() - detected },
  };
}

/** The mean of every eighth pixel of every eighth row: what `maskwatch check --aim` calls light. */
function meanLight({ width, height, rgb }: Picture): number {
  let sum = 0;
  let count = 0;
  for (let y = 0; y < height; y += 8) {
    for (let x = 0; x < width; x += 8) {
      const at = (y * width + x) * 3;
      sum += (rgb[at] as number) + (rgb[at + 1] as number) + (rgb[at + 2] as number);
      count += 3;
    }
  }
  return sum / count;
}
