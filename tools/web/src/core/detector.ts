/** The face detector round its net: a picture in, boxes in its pixels out, as agent/vision/detector.py does it. */

import { agent, type DetectorManifest, type Tensor } from "./manifest";
import { suppress } from "./nms";
import type { Box, Picture } from "./picture";
import { resizeLinear } from "./resize";
import { roundEven } from "./rounding";

/** A net that is ready: bytes of a picture in, the int8 numbers of its outputs out, by the manifest's names. */
export type Invoke = (rgb: Uint8Array) => Promise<Record<string, Int8Array>>;

export interface Face {
  readonly box: Box;
  /** 0..1, the detector's own. */
  readonly score: number;
}

export class FaceDetector {
  readonly manifest: DetectorManifest;
  readonly inputWidth: number;
  readonly inputHeight: number;
  readonly #invoke: Invoke;
  readonly #centres: Float32Array;
  readonly #strides: Float32Array;

  constructor(manifest: DetectorManifest, invoke: Invoke) {
    const [, height, width] = manifest.net.input.shape as [number, number, number];
    this.manifest = manifest;
    this.inputWidth = width;
    this.inputHeight = height;
    this.#invoke = invoke;
    [this.#centres, this.#strides] = cells(width, height, manifest.strides);
  }

  /** Give the faces in a picture, best first. floor: the lowest score wanted. */
  async find(picture: Picture, floor: number): Promise<Face[]> {
    const { rgb, scale } = letterbox(picture, this.inputWidth, this.inputHeight);
    const raw = await this.#invoke(rgb);
    const tensors = this.manifest.net.outputs;
    const scores = raw.scores as Int8Array;
    const lowest = lowestRaw(floor, tensors.scores as Tensor);
    let chosen: number[] = [];
    for (let cell = 0; cell < scores.length; cell++) if ((scores[cell] as number) >= lowest) chosen.push(cell);
    if (chosen.length > agent.candidates_max) {
      chosen.sort((one, other) => (scores[other] as number) - (scores[one] as number));
      chosen = chosen.slice(0, agent.candidates_max);
    }
    const boxes = chosen.map((cell) => this.#decode(raw.boxes as Int8Array, cell, scale, picture));
    const probabilities = chosen.map((cell) => probability(scores[cell] as number, tensors.scores as Tensor));
    return suppress(boxes, probabilities, this.manifest.nms_iou)
      .map((index) => ({ box: boxes[index] as Box, score: probabilities[index] as number }))
      .filter(({ box: [x0, y0, x1, y1] }) => x1 > x0 && y1 > y0);
  }

  /** Give the box that a cell told, in single precision as numpy has it. */
  #decode(raw: Int8Array, cell: number, scale: number, picture: Picture): Box {
    const f = Math.fround;
    const tensor = this.manifest.net.outputs.boxes as Tensor;
    const stride = this.#strides[cell] as number;
    const step = f(tensor.scale);
    const shrunk = f(scale);
    const side = (number: number) => {
      const told = f(((raw[cell * 4 + number] as number) - tensor.zero_point) * step);
      return f(Math.max(told, 0) * stride);
    };
    const x = this.#centres[2 * cell] as number;
    const y = this.#centres[2 * cell + 1] as number;
    const inside = (at: number, limit: number) => Math.min(Math.max(f(f(at) / shrunk), 0), limit);
    return [
      inside(x - side(0), picture.width),
      inside(y - side(1), picture.height),
      inside(x + side(2), picture.width),
      inside(y + side(3), picture.height),
    ];
  }
}

/** Fit a picture into the net's input at the top left, its sides' ratio kept; the rest stays grey. */
export function letterbox(picture: Picture, width: number, height: number): { rgb: Uint8Array; scale: number } {
  const scale = Math.min(width / picture.width, height / picture.height);
  const usedWidth = Math.min(width, Math.max(1, roundEven(picture.width * scale)));
  const usedHeight = Math.min(height, Math.max(1, roundEven(picture.height * scale)));
  let seen = picture;
  while (Math.min(seen.width / usedWidth, seen.height / usedHeight) > 2) {
    seen = resizeLinear(seen, Math.floor(seen.width / 2), Math.floor(seen.height / 2));
  }
  seen = resizeLinear(seen, usedWidth, usedHeight);
  const rgb = new Uint8Array(width * height * 3).fill(agent.letterbox_grey);
  for (let y = 0; y < usedHeight; y++) {
    rgb.set(seen.rgb.subarray(y * usedWidth * 3, (y + 1) * usedWidth * 3), y * width * 3);
  }
  return { rgb, scale };
}

/** Centre (x, y) of every cell in pixels of the input, and its stride, level by level. */
function cells(width: number, height: number, strides: readonly number[]): [Float32Array, Float32Array] {
  const centres: number[] = [];
  const sizes: number[] = [];
  for (const stride of strides) {
    for (let y = 0; y < Math.floor(height / stride); y++) {
      for (let x = 0; x < Math.floor(width / stride); x++) {
        centres.push((x + 0.5) * stride, (y + 0.5) * stride);
        sizes.push(stride);
      }
    }
  }
  return [new Float32Array(centres), new Float32Array(sizes)];
}

/** The smallest raw value of a logit whose probability is at least this. */
export function lowestRaw(wanted: number, tensor: Tensor): number {
  if (wanted <= 0) return -128;
  if (wanted >= 1) return 128;
  return Math.ceil(Math.log(wanted / (1 - wanted)) / tensor.scale + tensor.zero_point - 1e-9);
}

function probability(raw: number, tensor: Tensor): number {
  const logit = Math.fround((raw - tensor.zero_point) * Math.fround(tensor.scale));
  return Math.fround(1 / Math.fround(1 + Math.fround(Math.exp(-logit))));
}
