/**
 * OpenCV's resize for 8-bit pictures, bit for bit: the agent cuts and shrinks with it, and a net that sees other pixels
 * gives other answers. Linear in fixed point of 11 bits, area by exact means.
 *
 * Source: OpenCV 4, modules/imgproc/src/resize.cpp; tests/resize.test.ts compares with cv2's own output.
 */

import type { Picture } from "./picture";
import { roundEven } from "./rounding";

const COEFFICIENT_ONE = 2048;
const NEARLY = 2 ** -52;

/** cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR). */
export function resizeLinear(picture: Picture, width: number, height: number): Picture {
  if (picture.width === width && picture.height === height) return picture;
  const scaleX = 1 / (width / picture.width);
  const scaleY = 1 / (height / picture.height);
  if (isNear(scaleX, 2) && isNear(scaleY, 2)) return halve(picture); // OpenCV does so too
  const across = taps(picture.width, width, scaleX, true);
  const down = taps(picture.height, height, scaleY, false);
  const rgb = new Uint8Array(width * height * 3);
  const rows = [new Int32Array(width * 3), new Int32Array(width * 3)] as const;
  const held = [-1, -1];
  const last = picture.height - 1;
  for (let y = 0; y < height; y++) {
    const first = down.first[y] as number;
    const upper = Math.min(Math.max(first, 0), last);
    const lower = Math.min(Math.max(first + 1, 0), last);
    const one = rowAt(upper, lower);
    const other = rowAt(lower, upper);
    const near = down.near[y] as number;
    const far = down.far[y] as number;
    for (let x = 0, to = y * width * 3; x < width * 3; x++, to++) {
      const sum = ((near * ((one[x] as number) >> 4)) >> 16) + ((far * ((other[x] as number) >> 4)) >> 16);
      rgb[to] = (sum + 2) >> 2;
    }
  }
  return { width, height, rgb };

  /** Give a source row scaled across; the two last asked for are kept. other: the row that must stay. */
  function rowAt(number: number, other: number): Int32Array {
    if (held[0] === number) return rows[0];
    if (held[1] === number) return rows[1];
    const slot = held[0] === other ? 1 : 0;
    held[slot] = number;
    const row = rows[slot];
    const { rgb: from } = picture;
    const start = number * picture.width * 3;
    for (let x = 0, to = 0; x < width; x++, to += 3) {
      const left = start + (across.first[x] as number) * 3;
      const right = left + (across.step[x] as number);
      const near = across.near[x] as number;
      const far = across.far[x] as number;
      row[to] = (from[left] as number) * near + (from[right] as number) * far;
      row[to + 1] = (from[left + 1] as number) * near + (from[right + 1] as number) * far;
      row[to + 2] = (from[left + 2] as number) * near + (from[right + 2] as number) * far;
    }
    return row;
  }
}

/** The two source pixels of each target pixel and their weights, which sum to 2048. */
interface Taps {
  readonly first: Int32Array;
  /** Bytes to the second pixel: 3, or 0 at the edge. */
  readonly step: Int32Array;
  readonly near: Int32Array;
  readonly far: Int32Array;
}

function taps(from: number, to: number, scale: number, clipped: boolean): Taps {
  const first = new Int32Array(to);
  const step = new Int32Array(to).fill(3);
  const near = new Int32Array(to);
  const far = new Int32Array(to);
  for (let index = 0; index < to; index++) {
    const at = Math.fround((index + 0.5) * scale - 0.5);
    let start = Math.floor(at);
    let rest = Math.fround(at - start);
    if (clipped && start < 0) {
      start = 0;
      rest = 0;
    }
    if (clipped && start >= from - 1) {
      start = from - 1;
      rest = 0;
      step[index] = 0;
    }
    first[index] = start;
    near[index] = roundEven(Math.fround(Math.fround(1 - rest) * COEFFICIENT_ONE));
    far[index] = roundEven(Math.fround(rest * COEFFICIENT_ONE));
  }
  return { first, step, near, far };
}

/** cv2.resize of even sides by exactly a half, interpolation=cv2.INTER_AREA: means of 2x2. */
export function halve(picture: Picture): Picture {
  const width = picture.width >> 1;
  const height = picture.height >> 1;
  const rgb = new Uint8Array(width * height * 3);
  const from = picture.rgb;
  const stride = picture.width * 3;
  // Every live frame goes through here: what shrinkWhole does in general, written out for its speed.
  for (let y = 0, to = 0; y < height; y++) {
    let upper = 2 * y * stride;
    let lower = upper + stride;
    for (let x = 0; x < width; x++, to += 3, upper += 6, lower += 6) {
      rgb[to] = (sum4(from, upper, lower) + 2) >> 2;
      rgb[to + 1] = (sum4(from, upper + 1, lower + 1) + 2) >> 2;
      rgb[to + 2] = (sum4(from, upper + 2, lower + 2) + 2) >> 2;
    }
  }
  return { width, height, rgb };
}

/** Sum a channel of two pixels in each of two rows. */
function sum4(from: Uint8Array, upper: number, lower: number): number {
  const above = (from[upper] as number) + (from[upper + 3] as number);
  return above + (from[lower] as number) + (from[lower + 3] as number);
}

/** cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), for factors below 1. */
export function shrinkArea(picture: Picture, factor: number): Picture {
  const width = roundEven(picture.width * factor);
  const height = roundEven(picture.height * factor);
  if (width === picture.width && height === picture.height) return picture;
  const scale = 1 / factor;
  const whole = roundEven(scale);
  if (isNear(scale, whole)) return shrinkWhole(picture, width, height, whole);
  const across = parts(picture.width, width, scale);
  const down = parts(picture.height, height, scale);
  const rgb = new Uint8Array(width * height * 3);
  const row = new Float32Array(width * 3);
  const sums = new Float32Array(width * 3);
  let before = 0;
  for (const { target, source, weight } of down) {
    row.fill(0);
    const start = source * picture.width * 3;
    for (const part of across) {
      const from = start + part.source * 3;
      const to = part.target * 3;
      for (let channel = 0; channel < 3; channel++) {
        // A Float32Array rounds on writing; the product must be rounded before the sum is.
        const product = Math.fround((picture.rgb[from + channel] as number) * part.weight);
        row[to + channel] = (row[to + channel] as number) + product;
      }
    }
    if (target !== before) {
      write(before);
      sums.fill(0);
      before = target;
    }
    for (let x = 0; x < row.length; x++) sums[x] = (sums[x] as number) + Math.fround((row[x] as number) * weight);
  }
  write(before);
  return { width, height, rgb };

  function write(y: number): void {
    for (let x = 0, to = y * width * 3; x < sums.length; x++, to++) {
      rgb[to] = Math.min(255, Math.max(0, roundEven(sums[x] as number)));
    }
  }
}

/** The means of blocks, side by side; the last of a row or column may be cut by the picture's edge. */
function shrinkWhole(picture: Picture, width: number, height: number, side: number): Picture {
  const rgb = new Uint8Array(width * height * 3);
  const from = picture.rgb;
  const stride = picture.width * 3;
  const share = Math.fround(1 / (side * side));
  for (let y = 0, to = 0; y < height; y++) {
    const rows = Math.min(side, picture.height - y * side);
    for (let x = 0; x < width; x++) {
      const columns = Math.min(side, picture.width - x * side);
      const count = rows * columns;
      const start = y * side * stride + x * side * 3;
      for (let channel = 0; channel < 3; channel++, to++) {
        let sum = 0;
        for (let row = 0; row < rows; row++) {
          let at = start + row * stride + channel;
          for (let column = 0; column < columns; column++, at += 3) sum += from[at] as number;
        }
        if (count < side * side) rgb[to] = roundEven(Math.fround(sum / count));
        else rgb[to] = side === 2 ? (sum + 2) >> 2 : roundEven(Math.fround(sum * share));
      }
    }
  }
  return { width, height, rgb };
}

/** A source pixel's share in a target pixel. */
interface Part {
  readonly target: number;
  readonly source: number;
  readonly weight: number;
}

function parts(from: number, to: number, scale: number): Part[] {
  const found: Part[] = [];
  for (let target = 0; target < to; target++) {
    const begin = target * scale;
    const end = begin + scale;
    const width = Math.min(scale, from - begin);
    const last = Math.min(Math.floor(end), from - 1);
    const first = Math.min(Math.ceil(begin), last);
    if (first - begin > 1e-3) {
      found.push({ target, source: first - 1, weight: Math.fround((first - begin) / width) });
    }
    for (let source = first; source < last; source++) found.push({ target, source, weight: Math.fround(1 / width) });
    if (end - last > 1e-3) {
      found.push({ target, source: last, weight: Math.fround(Math.min(end - last, 1, width) / width) });
    }
  }
  return found;
}

function isNear(value: number, whole: number): boolean {
  return Math.abs(value - whole) < NEARLY;
}
