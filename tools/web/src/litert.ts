/** The only module that knows LiteRT: the twins' files in, int8 numbers out, proved by the manifests' golden answers. */

import { type CompiledModel, loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import { MaskClassifier } from "./core/classifier";
import { FaceDetector, type Invoke } from "./core/detector";
import { goldenDistance } from "./core/golden";
import { classifier, type Tensor as DoorTensor, detector, type Net, otherSizes } from "./core/manifest";

export interface Nets {
  readonly detector: FaceDetector;
  /** The same at other input sizes. */
  readonly closer: readonly FaceDetector[];
  readonly classifier: MaskClassifier;
}

/** Load the runtime and all nets. base: the page's folder. Raises an Error in one line. */
export async function loadNets(base: string): Promise<Nets> {
  const folder = `${base}litert/`;
  const settings = {
    // The runtime looks for its .wasm beside the script that it believes to be in: the worker.
    locateFile: (file: string) => folder + file,
    // It tells of every accelerator that it has and has not as if that were an error; real ones are thrown too.
    printErr: (line: string) => line.startsWith("ERROR") && console.error(line),
  };
  Object.assign(self, { Module: settings });
  await loadLiteRt(`${folder}litert_wasm_compat_internal.js`);
  const find = await load(detector.net, base);
  const look = await load(classifier.net, base);
  const closer: FaceDetector[] = [];
  for (const manifest of otherSizes) closer.push(new FaceDetector(manifest, await load(manifest.net, base)));
  return { detector: new FaceDetector(detector, find), closer, classifier: new MaskClassifier(classifier, look) };
}

/** Load a net and have it prove itself. Raises an Error that begins with its file's name. */
async function load(net: Net, base: string): Promise<Invoke> {
  try {
    const response = await fetch(`${base}models/${net.file}`);
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    const model = await loadAndCompile(new Uint8Array(await response.arrayBuffer()), { accelerator: "wasm" });
    const run: Invoke = (rgb) => invoke(model, net, rgb);
    const steps = await goldenDistance(net, run);
    if (steps > net.golden_tolerance) {
      throw new Error(`answers its golden inputs ${steps} steps off, ${net.golden_tolerance} are allowed`);
    }
    return run;
  } catch (error) {
    throw new Error(`${net.file}: ${error instanceof Error ? error.message : error}`);
  }
}

/** Run once. The twins' doors are float32: what goes in and comes out is the scale's arithmetic undone. */
async function invoke(model: CompiledModel, net: Net, rgb: Uint8Array): Promise<Record<string, Int8Array>> {
  const values = new Float32Array(rgb.length);
  for (let at = 0; at < rgb.length; at++) values[at] = (rgb[at] as number) * net.input.scale;
  const door = new Tensor(values, [...net.input.shape]);
  const found = await model.run(door);
  door.delete();
  const answers: Record<string, Int8Array> = {};
  for (const [name, tensor] of Object.entries(net.outputs)) {
    // The order of the file says nothing; the shapes differ.
    const size = tensor.shape.reduce((one, other) => one * other);
    const at = model.getOutputDetails().findIndex(({ shape }) => shape.reduce((one, other) => one * other) === size);
    const real = found[at]?.toTypedArray();
    if (real === undefined) throw new Error(`no output ${name}`);
    answers[name] = toSteps(real as Float32Array, tensor);
  }
  for (const tensor of found) tensor.delete();
  return answers;
}

/** Undo value = scale * (raw - zero_point). A loop: a mapped copy takes as long as the net. */
function toSteps(real: Float32Array, tensor: DoorTensor): Int8Array {
  const raw = new Int8Array(real.length);
  for (let at = 0; at < raw.length; at++) {
    raw[at] = Math.round((real[at] as number) / tensor.scale) + tensor.zero_point;
  }
  return raw;
}
