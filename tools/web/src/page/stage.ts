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
const PLATE = 21; // height of a face's words
const THUMB_HEIGHT = 128;
const FACES_MAX = 48;
/** Small pictures take memory too; the log has all that was said. */
const STRIP_MAX = 100;

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
    const faces = spoken(shown.finding);
    for (const face of faces) frame(context, face, fit);
    const plates: Plate[] = [];
    for (const face of faces) this.#write(context, face, fit, plates, shownWidth);
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

  /** Write what was said beside a face: where no other face's words are, if there is such a place. */
  #write(context: CanvasRenderingContext2D, face: FoundFace, fit: number, plates: Plate[], width: number): void {
    const [colour, ink] = COLOURS[face.decision.label];
    const [x0, y0, x1, y1] = face.box.map((side) => side * fit) as [number, number, number, number];
    const words = this.#words(face);
    context.font = `600 ${width < 480 ? 11 : 13}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const long = context.measureText(words).width + 12;
    const lefts = [x0 - 1, x1 - long + 1].map((left) => Math.max(0, Math.min(left, width - long)));
    const tops = y0 >= PLATE ? [y0 - PLATE, y1 + 1] : [y1 + 1];
    const places = tops.flatMap((top) => lefts.map((left) => ({ left, top, right: left + long, bottom: top + PLATE })));
    const free = places.find((place) => !plates.some((other) => meets(place, other)));
    const { left, top } = free ?? (places[0] as Plate);
    plates.push({ left, top, right: left + long, bottom: top + PLATE });
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(left, top, long, PLATE - 1, 4);
    context.fill();
    context.fillStyle = ink;
    context.fillText(words, left + 6, top + PLATE / 2);
  }
}

/** A rectangle of the screen with words in it. */
interface Plate {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

function meets(one: Plate, other: Plate): boolean {
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
}

function frame(context: CanvasRenderingContext2D, face: FoundFace, fit: number): void {
  const [x0, y0, x1, y1] = face.box.map((side) => side * fit) as [number, number, number, number];
  context.lineWidth = 2.5;
  context.strokeStyle = COLOURS[face.decision.label][0];
  context.beginPath();
  context.roundRect(x0, y0, x1 - x0, y1 - y0, 3);
  context.stroke();
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
    if (this.#held.length > STRIP_MAX) this.#held.shift()?.button.parentElement?.remove();
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
