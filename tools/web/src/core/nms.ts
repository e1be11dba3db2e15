/** Greedy non-maximum suppression in single precision, as agent/vision/nms.py computes it. */

import type { Box } from "./picture";

const f = Math.fround;
const TINY = 1.1754943508222875e-38; // the smallest normal float32

/** Overlap of two boxes, 0..1: area in common by area of both. A box without area overlaps nothing. */
export function overlap(one: Box, other: Box): number {
  const width = Math.max(f(Math.min(f(one[2]), f(other[2])) - Math.max(f(one[0]), f(other[0]))), 0);
  const height = Math.max(f(Math.min(f(one[3]), f(other[3])) - Math.max(f(one[1]), f(other[1]))), 0);
  const inner = f(width * height);
  const union = f(f(area(one) + area(other)) - inner);
  return f(inner / Math.max(union, inner, TINY));
}

/** Keep the best box of each heap: indices, best first; of equal scores the earlier goes first. */
export function suppress(boxes: readonly Box[], scores: ArrayLike<number>, iou: number): number[] {
  const limit = f(iou);
  let left = boxes.map((_, index) => index).sort((one, other) => (scores[other] as number) - (scores[one] as number));
  const kept: number[] = [];
  while (left.length > 0) {
    const [best, ...rest] = left as [number, ...number[]];
    kept.push(best);
    left = rest.filter((index) => overlap(boxes[best] as Box, boxes[index] as Box) <= limit);
  }
  return kept;
}

function area(box: Box): number {
  return f(Math.max(f(f(box[2]) - f(box[0])), 0) * Math.max(f(f(box[3]) - f(box[1])), 0));
}
