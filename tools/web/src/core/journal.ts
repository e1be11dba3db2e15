/** The session's predictions: kept in this page's memory only, bounded, given out as CSV or JSON. */

import type { FoundFace } from "./examine";
import { LABELS, type Reason, type Verdict } from "./manifest";
import type { Box } from "./picture";

/** The oldest rows make room: an afternoon of a webcam is no reason to fill the memory. */
export const ROWS_MAX = 20_000;

export interface Row {
  /** ISO 8601, UTC. */
  readonly time: string;
  /** A file's name, with the second of a clip; or the webcam. */
  readonly source: string;
  readonly label: Verdict;
  readonly confidence: number;
  readonly reason: Reason | null;
  readonly face_px: number;
  readonly score: number;
  readonly p: { readonly mask: number; readonly no_mask: number; readonly incorrect: number };
  readonly box: Box;
  readonly width: number;
  readonly height: number;
}

/** Make a face's row, rounded as `maskwatch inspect` rounds. */
export function rowOf(face: FoundFace, where: { source: string; at: Date; width: number; height: number }): Row {
  const [mask, noMask] = face.look.probs.map((value) => round(value, 6)) as [number, number, number];
  return {
    time: where.at.toISOString(),
    source: where.source,
    label: face.decision.label,
    confidence: round(face.decision.confidence, 6),
    reason: face.decision.reason,
    face_px: round(face.look.facePx, 1),
    score: round(face.score, 6),
    p: { mask, no_mask: noMask, incorrect: round(Math.max(0, 1 - mask - noMask), 6) },
    box: face.box.map((side) => round(side, 2)) as unknown as Box,
    width: where.width,
    height: where.height,
  };
}

export class Journal {
  #rows: Row[] = [];
  /** Rows that had to make room. */
  dropped = 0;

  add(rows: readonly Row[]): void {
    this.#rows.push(...rows);
    const over = Math.max(0, this.#rows.length - ROWS_MAX);
    this.#rows.splice(0, over);
    this.dropped += over;
  }

  clear(): void {
    this.#rows = [];
    this.dropped = 0;
  }

  get size(): number {
    return this.#rows.length;
  }

  /** Rows with this label, oldest first; "" for all. */
  rows(label: Verdict | ""): Row[] {
    return label === "" ? [...this.#rows] : this.#rows.filter((row) => row.label === label);
  }
}

const COLUMNS = ["time", "source", "label", "confidence", "reason", "face_px", "score", ...LABELS];

export function toCsv(rows: readonly Row[]): string {
  const header = [...COLUMNS, "x0", "y0", "x1", "y1", "width", "height"];
  const lines = rows.map((row) => [
    ...[row.time, row.source, row.label, row.confidence, row.reason ?? "", row.face_px, row.score],
    ...LABELS.map((label) => row.p[label]),
    ...row.box,
    row.width,
    row.height,
  ]);
  return [header, ...lines].map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
}

export function toJson(rows: readonly Row[]): string {
  return `${JSON.stringify(rows, null, 1)}\n`;
}

/** Write a cell by RFC 4180; a file's name must not become a formula in a spreadsheet. */
function cell(value: string | number): string {
  if (typeof value === "number") return String(value);
  const harmless = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
