/** The proof that a net is the manifest's: golden inputs, as agent/vision/model.py makes them, and their answers. */

import type { Invoke } from "./detector";
import type { Net } from "./manifest";

/** Make the picture of a golden vector: three layers of seeded blocks, integer arithmetic only. */
export function goldenInput(seed: number, width: number, height: number): Uint8Array {
  const sums = new Int32Array(width * height * 3);
  let state = seed;
  for (const cells of [4, 12, 32]) {
    const values = new Int32Array(cells * cells * 3);
    for (let index = 0; index < values.length; index++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      values[index] = state >>> 24;
    }
    for (let y = 0, to = 0; y < height; y++) {
      const row = Math.floor((y * cells) / height) * cells;
      for (let x = 0; x < width; x++) {
        const from = (row + Math.floor((x * cells) / width)) * 3;
        for (let channel = 0; channel < 3; channel++, to++) {
          sums[to] = (sums[to] as number) + (values[from + channel] as number);
        }
      }
    }
  }
  return Uint8Array.from(sums, (sum) => Math.floor(sum / 3));
}

/** Give the largest difference from the golden answers, in steps of the output. */
export async function goldenDistance(net: Net, invoke: Invoke): Promise<number> {
  const [, height, width] = net.input.shape as [number, number, number];
  let worst = 0;
  for (const golden of net.golden) {
    const answers = await invoke(goldenInput(golden.seed, width, height));
    for (const [name, expected] of Object.entries(golden.outputs)) {
      const raw = answers[name] as Int8Array;
      expected.forEach((value, index) => {
        worst = Math.max(worst, Math.abs(value - (raw[index * golden.every] as number)));
      });
    }
  }
  return worst;
}
