/** The log of the session: filter, clear, download. */

import { type Journal, type Row, toCsv, toJson } from "../core/journal";
import { VERDICTS, type Verdict } from "../core/manifest";
import { at, make } from "./dom";
import type { Text } from "./text";

/** A table of more rows makes the page slow; a download has all. */
const LISTED_MAX = 200;

export class JournalPanel {
  readonly #text: Text;
  readonly #journal: Journal;
  readonly #filter = at<HTMLSelectElement>("filter");

  constructor(text: Text, journal: Journal) {
    this.#text = text;
    this.#journal = journal;
    this.#filter.addEventListener("change", () => this.draw());
    at("clear").addEventListener("click", () => {
      journal.clear();
      this.draw();
    });
    at("csv").addEventListener("click", () => download(toCsv(this.#chosen()), "text/csv", "csv"));
    at("json").addEventListener("click", () => download(toJson(this.#chosen()), "application/json", "json"));
  }

  /** Write the filter's choices in the language in use. */
  translate(): void {
    const chosen = this.#filter.value;
    const choices = VERDICTS.map((verdict) => make("option", { value: verdict }, this.#text.verdict(verdict)));
    this.#filter.replaceChildren(make("option", { value: "" }, this.#text.say("all")), ...choices);
    this.#filter.value = chosen;
  }

  draw(): void {
    const text = this.#text;
    const rows = this.#chosen();
    const counted = { shown: text.number(rows.length), total: text.number(this.#journal.size) };
    const newest = rows.length > LISTED_MAX ? ` ${text.say("journalNewest", { count: LISTED_MAX })}` : "";
    at("journal-count").textContent = text.say("journalCount", counted) + newest;
    for (const id of ["csv", "json", "clear"]) at<HTMLButtonElement>(id).disabled = rows.length === 0;
    const listed = rows.slice(-LISTED_MAX).reverse();
    at("rows")
      .querySelector("tbody")
      ?.replaceChildren(...listed.map((row) => this.#line(row)));
  }

  #chosen(): Row[] {
    return this.#journal.rows(this.#filter.value as Verdict | "");
  }

  #line(row: Row): HTMLElement {
    const text = this.#text;
    const reason = row.reason === null ? "" : ` (${text.reason(row.reason)})`;
    return make(
      "tr",
      {},
      make("td", {}, text.time(new Date(row.time))),
      make("td", {}, make("span", { class: `said ${row.label}` }, text.verdict(row.label)), reason),
      make("td", {}, text.percent(row.confidence)),
      make("td", {}, `${text.number(row.face_px)} px`),
      make("td", {}, row.source),
    );
  }
}

function download(content: string, type: string, suffix: string): void {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "");
  make("a", { href: address, download: `maskwatch-${stamp}.${suffix}` }).click();
  // The browser reads it after the click has been handled.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
