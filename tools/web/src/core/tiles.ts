/** The second, closer look of `maskwatch inspect`: the whole picture, then overlapping tiles of it, pixel by pixel. */

import type { Face, FaceDetector } from "./detector";
import { agent } from "./manifest";
import { suppress } from "./nms";
import { type Box, cut, type Picture } from "./picture";
import { shrinkArea } from "./resize";
import { roundEven } from "./rounding";

/** Give the faces in a picture of any size, best first; boxes in its pixels. floor: the lowest score wanted. */
export async function findClosely(detector: FaceDetector, picture: Picture, floor: number): Promise<Face[]> {
  const faces = await detector.find(picture, floor);
  const { inputWidth, inputHeight } = detector;
  if (picture.width <= inputWidth && picture.height <= inputHeight) return faces;
  const shrink = Math.min(1, agent.tile_side_max_px / Math.max(picture.width, picture.height));
  const shown = shrink < 1 ? shrinkArea(picture, shrink) : picture;
  for (const top of starts(shown.height, inputHeight)) {
    for (const left of starts(shown.width, inputWidth)) {
      const width = Math.min(inputWidth, shown.width - left);
      const height = Math.min(inputHeight, shown.height - top);
      const tile = cut(shown, left, top, width, height);
      for (const face of await detector.find(tile, floor)) {
        if (!isWhole(face.box, left, top, tile, shown)) continue;
        const [x0, y0, x1, y1] = face.box;
        const box: Box = [(x0 + left) / shrink, (y0 + top) / shrink, (x1 + left) / shrink, (y1 + top) / shrink];
        faces.push({ ...face, box });
      }
    }
  }
  const boxes = faces.map(({ box }) => box);
  const scores = faces.map(({ score }) => score);
  return suppress(boxes, scores, detector.manifest.nms_iou).map((index) => faces[index] as Face);
}

/** Where tiles begin on one axis: evenly spread from edge to edge. */
export function starts(length: number, tile: number): number[] {
  if (length <= tile) return [0];
  const count = 1 + Math.ceil((length - tile) / (tile * (1 - agent.tile_overlap)));
  return Array.from({ length: count }, (_, index) => roundEven((index * (length - tile)) / (count - 1)));
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
