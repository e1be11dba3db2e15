/** The models' manifests and the agent's own numbers, read from the repository's files when the page is built. */

import face from "../../../../models/face-320.json";
import mask from "../../../../models/mask-64.json";
import { val } from "../../../../models/reports/mask-64.json";
import constants from "../agent.json";

export type Label = "mask" | "no_mask" | "incorrect";
export type Verdict = Label | "unsure";
export type Reason = "too_small" | "blurred" | "dark" | "undecided";

/** A door of a net: value = scale * (raw - zero_point). */
export interface Tensor {
  readonly shape: readonly number[];
  readonly scale: number;
  readonly zero_point: number;
}

export interface Golden {
  readonly seed: number;
  readonly every: number;
  readonly outputs: Readonly<Record<string, readonly number[]>>;
}

export interface Net {
  readonly file: string;
  readonly input: Tensor;
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly golden: readonly Golden[];
  readonly golden_tolerance: number;
}

/** When one look alone is no answer. */
export interface Abstain {
  readonly confidence: number;
  readonly face_px: number;
  readonly sharpness: number;
  readonly brightness: number;
}

export interface ClassifierManifest {
  readonly name: string;
  readonly version: number;
  readonly net: Net;
  readonly temperature: number;
  readonly crop_scale: number;
  readonly abstain: Abstain;
}

export interface DetectorManifest {
  readonly name: string;
  readonly version: number;
  readonly net: Net;
  readonly strides: readonly number[];
  readonly score_threshold: number;
  readonly report_floor: number;
  readonly nms_iou: number;
}

/** The columns of the classifier's answer. */
export const LABELS: readonly Label[] = mask.labels as Label[];
export const VERDICTS: readonly Verdict[] = [...LABELS, "unsure"];

export const classifier: ClassifierManifest = mask;
export const detector: DetectorManifest = face;
/** The same detector at other input sizes, which closer looks use: those of models/ with its version, by their names. */
export const otherSizes: readonly DetectorManifest[] = Object.entries(
  import.meta.glob<DetectorManifest>("../../../../models/face-*.json", { eager: true, import: "default" }),
)
  .sort(([one], [other]) => (one < other ? -1 : 1))
  .map(([, manifest]) => manifest)
  .filter(({ name, version }) => name !== detector.name && version === detector.version);

/** Constants of the agent's code; tests/integration/test_web_models.py holds them against it. */
export const agent = constants;

/** What the classifier's report measured: per cent of validation faces of a size with the right one of mask, no mask. */
export const promise: readonly { readonly px: number; readonly percent: number }[] = Object.entries(val.by_px)
  .map(([px, found]) => ({ px: Number(px), percent: found.two_way }))
  .sort((one, other) => one.px - other.px);
