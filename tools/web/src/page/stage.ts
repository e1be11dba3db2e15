/** The picture with boxes and labels in it, the faces beside it and the strip of all pictures below. */

import type { Finding, FoundFace } from "../core/examine";
import { classifier, type Verdict } from "../core/manifest";
import { at, make } from "./dom";
import type { Text } from "./text";

/** As `maskwatch inspect --annotate` paints them; the word stands beside, for those who see red and green alike. */
const COLOURS: Record<Verdict, readonly [plate: string, word: string]> = {
  mask: ["#2ea043", "#05230b"],
  no_mask: ["#d73a49", "#ffffff"],
  incorrect: ["#d68800", "#2a1a00"],
  unsure: ["#825ac8", "#ffffff"],
};
const THUMB_HEIGHT = 128;
const FACES_MAX = 48;

/** What is shown: a picture or a frame, and what was found in it. */
export interface Shown {
  readonly name: string;
  readonly finding: Finding;
  readonly bitmap: ImageBitmap;
}

/** The faces that the agent would speak of. */
export function spoken(finding: Finding): FoundFace[] {
  return finding.faces.filter(({ followed }) => followed);
}

export class Stage {
  readonly #canvas = at<HTMLCanvasElement>("picture");
  readonly #screen = at("screen");
  readonly #list = at("faces");
  readonly #text: Text;
  #shown: Shown | null = null;

  constructor(text: Text) {
    this.#text = text;
    new ResizeObserver(() => this.draw()).observe(this.#screen);
  }

  /** Show a picture; the one before is let go. withList: with its faces beside it, which takes longer. */
  show(shown: Shown, withList: boolean): void {
    if (this.#shown !== null && this.#shown.bitmap !== shown.bitmap) this.#shown.bitmap.close();
    this.#shown = shown;
    this.draw();
    if (withList) this.list();
  }

  /** Draw anew: after another language, another width. */
  draw(): void {
    const shown = this.#shown;
    at("empty").hidden = shown !== null;
    this.#canvas.hidden = shown === null;
    if (shown === null) return;
    const { width, height } = shown.finding;
    const room = this.#screen.clientWidth;
    const fit = Math.min(room / width, (0.7 * window.innerHeight) / height);
    const shownWidth = Math.max(1, Math.round(width * fit));
    const shownHeight = Math.max(1, Math.round(height * fit));
    const dots = window.devicePixelRatio || 1;
    const size = { width: Math.round(shownWidth * dots), height: Math.round(shownHeight * dots) };
    if (this.#canvas.width !== size.width || this.#canvas.height !== size.height) Object.assign(this.#canvas, size);
    this.#canvas.style.width = `${shownWidth}px`;
    this.#canvas.style.height = `${shownHeight}px`;
    const context = this.#canvas.getContext("2d");
    if (context === null) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(shown.bitmap, 0, 0, size.width, size.height);
    context.setTransform(dots, 0, 0, dots, 0, 0);
    for (const face of spoken(shown.finding).reverse()) this.#mark(context, face, fit, shownWidth);
    this.#canvas.setAttribute("aria-label", this.describe(shown.name, shown.finding));
  }

  /** Say a finding in words, for those who do not see the picture. */
  describe(name: string, finding: Finding): string {
    const faces = spoken(finding);
    const words = faces.slice(0, 12).map((face) => this.#words(face));
    return `${name}: ${[this.#text.faces(faces.length), ...words].join(", ")}`;
  }

  /** List the faces of what is shown. */
  list(): void {
    const faces = this.#shown === null ? [] : spoken(this.#shown.finding).slice(0, FACES_MAX);
    at("faces-title").hidden = faces.length === 0;
    this.#list.replaceChildren(...faces.map((face) => this.#card(face)));
  }

  #card(face: FoundFace): HTMLElement {
    const { label, confidence, reason } = face.decision;
    const size = `${this.#text.number(face.look.facePx)} px`;
    const more = [this.#text.percent(confidence), size, ...(reason === null ? [] : [this.#text.reason(reason)])];
    const thumb = make("canvas", { "aria-hidden": "true", width: "112", height: "112" });
    const context = thumb.getContext("2d");
    if (context !== null && this.#shown !== null) {
      const [x0, y0, x1, y1] = face.box;
      const side = Math.max(x1 - x0, y1 - y0) * classifier.crop_scale;
      const corner = [(x0 + x1 - side) / 2, (y0 + y1 - side) / 2] as const;
      context.drawImage(this.#shown.bitmap, ...corner, side, side, 0, 0, 112, 112);
    }
    return make(
      "li",
      { class: "face" },
      thumb,
      make("span", { class: `said ${label}` }, this.#text.verdict(label)),
      make("span", { class: "more" }, more.join(" · ")),
    );
  }

  #words(face: FoundFace): string {
    return `${this.#text.verdict(face.decision.label)} ${this.#text.percent(face.decision.confidence)}`;
  }

  #mark(context: CanvasRenderingContext2D, face: FoundFace, fit: number, width: number): void {
    const [plate, ink] = COLOURS[face.decision.label];
    const [x0, y0, x1, y1] = face.box.map((side) => side * fit) as [number, number, number, number];
    context.lineWidth = 2.5;
    context.strokeStyle = plate;
    context.beginPath();
    context.roundRect(x0, y0, x1 - x0, y1 - y0, 3);
    context.stroke();
    const words = this.#words(face);
    context.font = "600 13px system-ui, sans-serif";
    context.textBaseline = "middle";
    const plateWidth = context.measureText(words).width + 12;
    const left = Math.max(0, Math.min(x0 - 1, width - plateWidth));
    const top = y0 >= 21 ? y0 - 21 : y1 + 1;
    context.fillStyle = plate;
    context.beginPath();
    context.roundRect(left, top, plateWidth, 20, 4);
    context.fill();
    context.fillStyle = ink;
    context.fillText(words, left + 6, top + 10.5);
  }
}

/** The pictures looked at, small, to be shown again. */
export class Strip {
  readonly #strip = at("strip");
  readonly #again: (file: File) => void;
  readonly #text: Text;
  #held: { readonly button: HTMLButtonElement; readonly name: string; readonly faces: number }[] = [];

  constructor(text: Text, again: (file: File) => void) {
    this.#text = text;
    this.#again = again;
  }

  add(file: File, shown: Shown): void {
    const scale = THUMB_HEIGHT / shown.finding.height;
    const width = Math.max(1, Math.min(320, Math.round(shown.finding.width * scale)));
    const thumb = make("canvas", { width: String(width), height: String(THUMB_HEIGHT), "aria-hidden": "true" });
    thumb.getContext("2d")?.drawImage(shown.bitmap, 0, 0, width, THUMB_HEIGHT);
    const button = make("button", { type: "button", title: shown.name }, thumb);
    this.#held.push({ button, name: shown.name, faces: spoken(shown.finding).length });
    button.addEventListener("click", () => {
      this.#again(file);
      this.mark(button);
    });
    this.#strip.append(make("li", {}, button));
    this.mark(button);
    this.translate();
    at("strip-title").hidden = this.#strip.childElementCount < 2;
    this.#strip.hidden = this.#strip.childElementCount < 2;
  }

  mark(chosen: HTMLButtonElement): void {
    for (const button of this.#strip.querySelectorAll("button")) {
      button.setAttribute("aria-current", String(button === chosen));
    }
  }

  translate(): void {
    for (const { button, name, faces } of this.#held) {
      button.setAttribute("aria-label", this.#text.say("show1", { name, faces: this.#text.faces(faces) }));
    }
  }

  clear(): void {
    this.#held = [];
    this.#strip.replaceChildren();
    at("strip-title").hidden = true;
  }
}
