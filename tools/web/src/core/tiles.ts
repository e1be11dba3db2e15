/** The closer look of `maskwatch inspect` at a picture, with the detector at all its input sizes; see agent/vision/tiles.py. */

import type { Face, FaceDetector } from "./detector";
import { agent } from "./manifest";
import { overlap, suppress } from "./nms";
import { type Box, cut, mirror, type Picture, sizePx } from "./picture";
import { shrinkArea } from "./resize";
import { roundEven } from "./rounding";

type Size = readonly [width: number, height: number];

/** How to look: nets by their place in the list. lefts, tops: where the close look's tiles begin; empty: in one piece. */
export interface Plan {
  readonly close: number;
  readonly wide: number | null;
  readonly lefts: readonly number[];
  readonly tops: readonly number[];
}

/** Give the faces in a picture of any size, best first; boxes in its pixels. floor: the lowest score wanted. */
export async function findClosely(nets: readonly FaceDetector[], picture: Picture, floor: number): Promise<Face[]> {
  const shrink = Math.min(1, agent.tile_side_max_px / Math.max(picture.width, picture.height));
  const shown = shrink < 1 ? shrinkArea(picture, shrink) : picture;
  const { nms_iou, report_floor } = (nets[0] as FaceDetector).manifest;
  const plan = choose(nets.map(sizeOf), shown.width, shown.height);
  const close = nets[plan.close] as FaceDetector;
  let faces: Face[];
  if (plan.wide === null) {
    faces = await close.find(shown, report_floor);
  } else {
    const wide = nets[plan.wide] as FaceDetector;
    const whole = await wide.find(shown, report_floor);
    const tiled = plan.tops.length > 0;
    const closely = tiled
      ? keep(await inTiles(close, shown, plan, report_floor), nms_iou)
      : await mirrored(close, shown, report_floor);
    const largest = tiled
      ? agent.tile_overlap * Math.min(close.inputWidth, close.inputHeight)
      : agent.tile_large_px / fit(sizeOf(close), shown.width, shown.height);
    const smallest = agent.tile_seen_px / fit(sizeOf(wide), shown.width, shown.height);
    faces = keep(agree(closely, whole, smallest, largest, report_floor), nms_iou);
  }
  return faces
    .filter(({ score }) => score >= floor)
    .map(({ box: [x0, y0, x1, y1], score }) => ({
      box: [x0 / shrink, y0 / shrink, x1 / shrink, y1 / shrink],
      score,
    }));
}

/** Choose how to look at a picture with inputs of these sizes. */
export function choose(sizes: readonly Size[], width: number, height: number): Plan {
  const size = (index: number) => sizes[index] as Size;
  const scale = (index: number) => fit(size(index), width, height);
  const byArea = sizes.map((_, index) => index).sort((one, other) => area(size(one)) - area(size(other)));
  const smallest = byArea[0] as number;
  let pieces = byArea.filter(
    (index) => scale(index) >= agent.tile_shrunk_min && scale(index) <= agent.tile_enlarged_max,
  );
  if (byArea.every((index) => scale(index) > agent.tile_enlarged_max)) pieces = [smallest];
  const shrunk = byArea.filter((index) => scale(index) < 1);
  const [cheapest] = most(shrunk, (index) => -tiledPixels(size(index), width, height));
  if (pieces.length > 0) {
    const [best] = most(most(pieces, scale), (index) => area(size(index))) as [number];
    const seen = area(size(best)) / scale(best) ** 2;
    if (scale(best) >= 1 || seen <= tiledPixels(size(cheapest as number), width, height)) {
      return { close: best, wide: byArea[byArea.indexOf(best) - 1] ?? null, lefts: [], tops: [] };
    }
  }
  const tile = cheapest as number;
  return {
    close: tile,
    wide: byArea.find((index) => scale(index) >= agent.tile_seen_part) ?? (byArea.at(-1) as number),
    lefts: starts(width, size(tile)[0]),
    tops: starts(height, size(tile)[1]),
  };
}

/** Put two looks at one picture together: means of what both saw, half of what one saw; of large faces the wide look's. */
export function agree(
  closely: readonly Face[],
  whole: readonly Face[],
  smallestPx: number,
  largestPx: number,
  floor: number,
): Face[] {
  const left = [...whole];
  const faces = closely.map((face) => {
    const shares = left.map(({ box }) => overlap(face.box, box));
    const share = Math.max(0, ...shares);
    if (share >= agent.tile_same_iou) {
      const [other] = left.splice(shares.indexOf(share), 1) as [Face];
      if (sizePx(other.box) > largestPx) return other;
      const box = face.box.map((side, at) => (side + (other.box[at] as number)) / 2) as unknown as Box;
      return { box, score: mean(face.score, other.score) };
    }
    return sizePx(face.box) >= smallestPx ? { ...face, score: mean(face.score, floor) } : face;
  });
  const rest = left.map((face) => (sizePx(face.box) <= largestPx ? { ...face, score: mean(face.score, floor) } : face));
  return [...faces, ...rest];
}

/** Where tiles begin on one axis: evenly spread from edge to edge. */
export function starts(length: number, tile: number): number[] {
  if (length <= tile) return [0];
  const count = 1 + Math.ceil((length - tile) / (tile * (1 - agent.tile_overlap)));
  return Array.from({ length: count }, (_, index) => roundEven((index * (length - tile)) / (count - 1)));
}

/** Find the faces that are whole in a tile; one in two tiles comes twice. */
async function inTiles(net: FaceDetector, picture: Picture, plan: Plan, floor: number): Promise<Face[]> {
  const faces: Face[] = [];
  for (const top of plan.tops) {
    for (const left of plan.lefts) {
      const width = Math.min(net.inputWidth, picture.width - left);
      const height = Math.min(net.inputHeight, picture.height - top);
      const tile = cut(picture, left, top, width, height);
      for (const face of await mirrored(net, tile, floor)) {
        if (!isWhole(face.box, left, top, tile, picture)) continue;
        const [x0, y0, x1, y1] = face.box;
        faces.push({ ...face, box: [x0 + left, y0 + top, x1 + left, y1 + top] });
      }
    }
  }
  return faces;
}

/** Find faces in the picture's mirror image; boxes in the picture itself. */
async function mirrored(net: FaceDetector, picture: Picture, floor: number): Promise<Face[]> {
  const found = await net.find(mirror(picture), floor);
  return found.map(({ box: [x0, y0, x1, y1], score }) => ({
    box: [picture.width - x1, y0, picture.width - x0, y1],
    score,
  }));
}

/** Whether a box in a tile keeps clear of the borders that are not the picture's own. */
function isWhole([x0, y0, x1, y1]: Box, left: number, top: number, tile: Picture, picture: Picture): boolean {
  const border = agent.tile_border_px;
  return (
    (left === 0 || x0 > border) &&
    (top === 0 || y0 > border) &&
    (left + tile.width === picture.width || x1 < tile.width - border) &&
    (top + tile.height === picture.height || y1 < tile.height - border)
  );
}

/** The best face of each heap, best first. */
function keep(faces: readonly Face[], iou: number): Face[] {
  const boxes = faces.map(({ box }) => box);
  const scores = faces.map(({ score }) => score);
  return suppress(boxes, scores, iou).map((index) => faces[index] as Face);
}

/** The probability whose logit is the mean of the two's. */
function mean(one: number, other: number): number {
  const odds = Math.sqrt((one / (1 - one)) * (other / (1 - other)));
  return odds / (1 + odds);
}

function sizeOf({ inputWidth, inputHeight }: FaceDetector): Size {
  return [inputWidth, inputHeight];
}

function fit([across, down]: Size, width: number, height: number): number {
  return Math.min(across / width, down / height);
}

function area([width, height]: Size): number {
  return width * height;
}

function tiledPixels(tile: Size, width: number, height: number): number {
  return area(tile) * starts(width, tile[0]).length * starts(height, tile[1]).length;
}

/** Those for which a value is greatest. */
function most(indices: readonly number[], value: (index: number) => number): number[] {
  const greatest = Math.max(...indices.map(value));
  return indices.filter((index) => value(index) === greatest);
}
