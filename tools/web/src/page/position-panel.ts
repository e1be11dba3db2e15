/** The panel "does this position work?". */

import { classifier, promise } from "../core/manifest";
import { bySize, judge, type Looks } from "../core/position";
import { at, make } from "./dom";
import type { Text } from "./text";

const SVG = "http://www.w3.org/2000/svg";

export class PositionPanel {
  readonly #text: Text;

  constructor(text: Text) {
    this.#text = text;
  }

  /** light: of the whole picture, 0..255; null before there is one. */
  draw(looks: Looks, light: number | null): void {
    const text = this.#text;
    const found = judge(looks.all, classifier.abstain);
    const [word, advice] = text.position(found.verdict, found.needed);
    at("verdict").dataset.verdict = found.verdict;
    at("verdict-word").textContent = word;
    at("verdict-advice").textContent = advice;
    const facts: [string, string][] = [];
    if (found.looks > 0) {
      const sizes = {
        from: text.number(found.smallest),
        to: text.number(found.largest),
        mostly: text.number(found.size),
      };
      const least = text.number(classifier.abstain.sharpness);
      facts.push([text.say("factFaces"), text.say("factSizes", sizes)]);
      facts.push([text.say("factLight"), text.say("ofLevels", { value: text.number(found.brightness) })]);
      facts.push([text.say("factSharp"), text.say("atLeast", { value: text.number(found.sharpness), least })]);
      if (found.promised !== null) {
        const percent = text.percent(found.promised / 100, 1);
        facts.push([text.say("factPromise"), text.say("percentRight", { percent })]);
      }
    } else if (light !== null) {
      facts.push([text.say("factScene"), text.say("ofLevels", { value: text.number(light) })]);
    }
    const lines = facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    at("facts").replaceChildren(...lines);
    this.#drawSizes(bySize(looks.all), found.looks > 0 ? found.size : null, found.needed);
  }

  #drawSizes(counts: readonly number[], mostly: number | null, needed: number): void {
    const text = this.#text;
    const most = Math.max(1, ...counts);
    const rows = counts.map((count, slot) => {
      const from = slot === 0 ? 0 : (promise[slot - 1]?.px ?? 0);
      const to = promise[slot]?.px;
      const here = mostly !== null && mostly >= from && mostly < (to ?? Number.POSITIVE_INFINITY);
      const classes = [here ? "here" : "", from < needed ? "short" : ""].join(" ").trim();
      const percent = slot === 0 ? "–" : text.percent((promise[slot - 1]?.percent ?? 0) / 100, 1);
      return make(
        "tr",
        { class: classes },
        make("td", {}, this.#range(slot, from, to)),
        make("td", { class: "bars" }, bar(count / most), make("span", {}, count === 0 ? "" : text.number(count))),
        make("td", {}, percent),
      );
    });
    at("sizes")
      .querySelector("tbody")
      ?.replaceChildren(...rows);
  }

  #range(slot: number, from: number, to: number | undefined): string {
    if (to === undefined) return this.#text.say("from", { px: from });
    return slot === 0 ? this.#text.say("below", { px: to }) : this.#text.say("range", { from, to });
  }
}

/** part: 0..1. A picture and no style attribute, which the page's policy forbids. */
function bar(part: number): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 8");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const filled = document.createElementNS(SVG, "rect");
  filled.setAttribute("width", String(Math.round(part * 100)));
  filled.setAttribute("height", "8");
  svg.append(filled);
  return svg;
}
