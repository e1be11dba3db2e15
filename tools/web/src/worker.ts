/** The nets' thread: pictures in, findings out, one at a time, so that the page stays responsive. */

import { examine } from "./core/examine";
import { fromRgba, type Picture } from "./core/picture";
import { loadNets, type Nets } from "./litert";
import type { Answer, Order } from "./messages";

const scope = self as unknown as DedicatedWorkerGlobalScope;
const canvas = new OffscreenCanvas(1, 1);
let nets: Nets | undefined;

scope.onmessage = async ({ data: order }: MessageEvent<Order>) => {
  try {
    if (order.kind === "start") {
      nets = await loadNets(order.base);
      say({ kind: "ready", id: order.id });
    } else if (nets !== undefined) {
      await look(order, nets);
    }
  } catch (error) {
    say({ kind: "failed", id: order.id, why: error instanceof Error ? error.message : String(error) });
  }
};

async function look(order: Order & { kind: "look" }, loaded: Nets): Promise<void> {
  const begun = performance.now();
  const bitmap = order.source instanceof ImageBitmap ? order.source : await decode(order.source);
  if (bitmap === null) {
    say({ kind: "unreadable", id: order.id });
    return;
  }
  const picture = pixels(bitmap);
  const finding = await examine(picture, loaded, order.closely, performance.now() - begun);
  scope.postMessage({ kind: "found", id: order.id, finding, bitmap } satisfies Answer, [bitmap]);
}

/** Decode a file as the agent does: turned as its EXIF says, its numbers as they are, no colour profile applied. */
async function decode(file: Blob): Promise<ImageBitmap | null> {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}

function pixels(bitmap: ImageBitmap): Picture {
  const { width, height } = bitmap;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Error("no canvas in a worker");
  context.globalCompositeOperation = "copy";
  context.drawImage(bitmap, 0, 0);
  return fromRgba(context.getImageData(0, 0, width, height).data, width, height);
}

function say(answer: Answer): void {
  scope.postMessage(answer);
}
