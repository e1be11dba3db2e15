/** The classifier's view of a face: one square crop, cut as agent/vision/crop.py cuts it, and how much it can tell. */

import { type Box, cut, type Picture } from "./picture";
import { halve, resizeLinear } from "./resize";
import { roundEven } from "./rounding";

export interface Quality {
  /** Variance of the Laplacian of the luma, squared grey levels at the crop's own size. */
  readonly sharpness: number;
  /** Mean luma, 0..255. */
  readonly brightness: number;
}

/**
 * Give the square round a face, scaled to the classifier's input.
 *
 * Its side is the box's longer one times scale; what lies outside the picture repeats the picture's edge.
 */
export function cropFace(picture: Picture, box: Box, scale: number, size: number): Picture {
  const [x0, y0, x1, y1] = box;
  const side = Math.max(1, roundEven(Math.max(x1 - x0, y1 - y0) * scale));
  const across = span(roundEven((x0 + x1) / 2 - side / 2), side, picture.width);
  const down = span(roundEven((y0 + y1) / 2 - side / 2), side, picture.height);
  const square = padded(picture, across, down, side);
  const halvings = 31 - Math.clz32(Math.max(1, Math.floor(side / size)));
  let face = resizeLinear(square, size << halvings, size << halvings);
  for (let step = 0; step < halvings; step++) face = halve(face);
  return face;
}

/** First and end of what is inside, and how many pixels are missing before it. */
interface Span {
  readonly first: number;
  readonly end: number;
  readonly before: number;
}

function span(start: number, length: number, limit: number): Span {
  const first = Math.min(Math.max(start, 0), limit - 1);
  const end = Math.max(Math.min(start + length, limit), first + 1);
  const missing = length - (end - first);
  return { first, end, before: Math.min(Math.max(first - start, 0), missing) };
}

function padded(picture: Picture, across: Span, down: Span, side: number): Picture {
  const inner = cut(picture, across.first, down.first, across.end - across.first, down.end - down.first);
  if (inner.width === side && inner.height === side) return inner;
  const rgb = new Uint8Array(side * side * 3);
  for (let y = 0, to = 0; y < side; y++) {
    const row = Math.min(Math.max(y - down.before, 0), inner.height - 1) * inner.width;
    for (let x = 0; x < side; x++, to += 3) {
      const from = (row + Math.min(Math.max(x - across.before, 0), inner.width - 1)) * 3;
      rgb[to] = inner.rgb[from] as number;
      rgb[to + 1] = inner.rgb[from + 1] as number;
      rgb[to + 2] = inner.rgb[from + 2] as number;
    }
  }
  return { width: side, height: side, rgb };
}

/** Measure a crop. Source: variance of the Laplacian, Pech-Pacheco et al., ICPR 2000; luma as OpenCV's RGB2GRAY. */
export function measure(face: Picture): Quality {
  const { width, height } = face;
  const luma = new Int32Array(width * height);
  let light = 0;
  for (let at = 0, from = 0; at < luma.length; at++, from += 3) {
    const [red, green, blue] = [face.rgb[from], face.rgb[from + 1], face.rgb[from + 2]] as [number, number, number];
    luma[at] = (red * 9798 + green * 19235 + blue * 3735 + 16384) >> 15; // fixed point of 15 bits
    light += luma[at] as number;
  }
  let sum = 0;
  let squares = 0;
  for (let y = 0; y < height; y++) {
    const above = mirrored(y - 1, height) * width;
    const below = mirrored(y + 1, height) * width;
    for (let x = 0; x < width; x++) {
      const here = y * width;
      const value =
        (luma[above + x] as number) +
        (luma[below + x] as number) +
        (luma[here + mirrored(x - 1, width)] as number) +
        (luma[here + mirrored(x + 1, width)] as number) -
        4 * (luma[here + x] as number);
      sum += value;
      squares += value * value;
    }
  }
  const mean = sum / luma.length;
  return { sharpness: Math.max(0, squares / luma.length - mean * mean), brightness: light / luma.length };
}

/** The pixel that stands for one beyond the edge: the edge's neighbour, not the edge (OpenCV's reflect-101). */
function mirrored(index: number, length: number): number {
  if (length === 1) return 0;
  if (index < 0) return -index;
  return index >= length ? 2 * length - 2 - index : index;
}
