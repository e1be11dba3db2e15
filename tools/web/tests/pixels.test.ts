import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cropFace, measure } from "../src/core/crop";
import { classifier } from "../src/core/manifest";
import type { Box, Picture } from "../src/core/picture";
import { resizeLinear, shrinkArea } from "../src/core/resize";
import { fixtures } from "./python";

interface Case {
  kind: "linear" | "area" | "crop";
  name: string;
  width: number;
  height: number;
  outWidth: number;
  outHeight: number;
  factor: number;
  box: Box;
  sharpness: number;
  brightness: number;
}

const folder = mkdtempSync(join(tmpdir(), "maskwatch-pixels-"));
fixtures("pixels", folder);
const cases: Case[] = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8"));

function source(one: Case): Picture {
  return { width: one.width, height: one.height, rgb: readFileSync(join(folder, `${one.name}.in`)) };
}

/** Say how many bytes differ, and by how much at most. */
function difference(made: Picture, one: Case): string {
  const expected = readFileSync(join(folder, `${one.name}.out`));
  let count = 0;
  let worst = 0;
  for (let at = 0; at < expected.length; at++) {
    const apart = Math.abs((expected[at] as number) - (made.rgb[at] as number));
    if (apart > 0) count++;
    worst = Math.max(worst, apart);
  }
  return `${made.width}x${made.height}, ${count} bytes differ by up to ${worst}`;
}

function same(one: Case): string {
  return `${one.outWidth}x${one.outHeight}, 0 bytes differ by up to 0`;
}

test.each(cases.filter(({ kind }) => kind === "linear"))(
  "linear resize of $width x $height to $outWidth x $outHeight is cv2's, byte for byte",
  (one) => {
    expect(difference(resizeLinear(source(one), one.outWidth, one.outHeight), one)).toBe(same(one));
  },
);

test.each(cases.filter(({ kind }) => kind === "area"))(
  "area resize of $width x $height by $factor is cv2's, byte for byte",
  (one) => {
    expect(difference(shrinkArea(source(one), one.factor), one)).toBe(same(one));
  },
);

test.each(cases.filter(({ kind }) => kind === "crop"))(
  "a face is cut from $width x $height and measured as the agent does",
  (one) => {
    const face = cropFace(source(one), one.box, classifier.crop_scale, 64);
    expect(difference(face, one)).toBe(same(one));
    const found = measure(face);
    expect(found.brightness).toBeCloseTo(one.brightness, 9);
    expect(found.sharpness).toBeCloseTo(one.sharpness, 6);
  },
);
