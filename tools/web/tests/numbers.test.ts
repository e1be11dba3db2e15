/** What is computed without a browser: the position's words against the agent's own, the log's files. */

import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { FoundFace } from "../src/core/examine";
import { Journal, ROWS_MAX, rowOf, toCsv, toJson } from "../src/core/journal";
import { classifier, promise } from "../src/core/manifest";
import { suppress } from "../src/core/nms";
import type { Box } from "../src/core/picture";
import { bySize, type Judgement, judge, Looks, type Position } from "../src/core/position";
import { roundEven } from "../src/core/rounding";
import { choose, starts } from "../src/core/tiles";
import { fixtures } from "./python";

interface AimLook {
  sharpness: number;
  brightness: number;
  face_px: number;
  probs: [number, number, number];
}

const WORDS: Record<Position, (needed: number) => string> = {
  no_face: () => "",
  too_small: (needed) => `TOO SMALL: faces need ${needed} px; move closer, zoom, or take a wider picture`,
  dark: () => "TOO DARK: more light on the faces, not behind them",
  blurred: () => "BLURRED: focus the lens, clean it, or give more light",
  good: () => "GOOD",
};

/** Write a judgement as the terminal does. */
function line(found: Judgement): string {
  const facts = [
    WORDS[found.verdict](found.needed),
    `${found.looks} in sight`,
    `faces ${roundEven(found.smallest)} to ${roundEven(found.largest)} px, mostly ${roundEven(found.size)}`,
    `light ${roundEven(found.brightness)}/255`,
    `sharpness ${roundEven(found.sharpness)}`,
  ];
  if (found.promised !== null) facts.push(`measured at this size: ${found.promised.toFixed(1)} % right`);
  return facts.join(" · ");
}

test("a position is judged in the words and numbers of maskwatch check --aim", () => {
  const file = join(mkdtempSync(join(tmpdir(), "maskwatch-aim-")), "aim.json");
  fixtures("aim", file);
  const groups: { line: string; looks: AimLook[] }[] = JSON.parse(readFileSync(file, "utf8"));
  const said = groups.map(({ looks }) => {
    const seen = looks.map(({ face_px, ...look }) => ({ ...look, facePx: face_px }));
    return line(judge(seen, classifier.abstain));
  });

  expect(said).toEqual(groups.map((group) => group.line));
  const kinds = new Set(said.map((one) => one.split(/[: ]/)[0]));
  expect(kinds).toEqual(new Set(["TOO", "BLURRED", "GOOD"]));
});

test("without a face there is no judgement but that", () => {
  expect(judge([], classifier.abstain)).toMatchObject({ verdict: "no_face", looks: 0, promised: null });
});

function look(facePx: number) {
  return { probs: [1, 0, 0] as const, sharpness: 100, brightness: 100, facePx };
}

test("faces are sorted into the sizes that were measured", () => {
  const smallest = promise[0]?.px ?? 0;
  const counts = bySize([smallest - 1, smallest, smallest + 0.5, 500].map(look));

  expect(counts).toHaveLength(promise.length + 1);
  expect([counts[0], counts[1], counts.at(-1)]).toEqual([1, 2, 1]);
});

test("looks of a live picture are forgotten after five seconds, those of pictures stay", () => {
  const live = new Looks();
  live.add([look(20)], 1_000);
  live.add([look(30)], 7_000);
  expect(live.all.map(({ facePx }) => facePx)).toEqual([30]);

  const still = new Looks();
  still.add([look(20)], Number.POSITIVE_INFINITY);
  still.add([look(30)], Number.POSITIVE_INFINITY);
  expect(still.all).toHaveLength(2);
});

function face(box: Box, facePx: number): FoundFace {
  const seen = { ...look(facePx), probs: [0.1234567, 0.7, 0.1765433] as const };
  const decision = { label: "unsure", confidence: 0.7, reason: "undecided" } as const;
  return { box, score: 0.87654321, look: seen, decision, followed: true };
}

function row(source: string) {
  return rowOf(face([1.005, 2, 30.125, 40], 32.41), { source, at: new Date(0), width: 640, height: 480 });
}

test("a row has what inspect says of a face, rounded alike", () => {
  expect(row("a.png")).toMatchObject({
    time: "1970-01-01T00:00:00.000Z",
    label: "unsure",
    reason: "undecided",
    score: 0.876543,
    p: { mask: 0.123457, no_mask: 0.7, incorrect: 0.176543 },
  });
});

test("a file's name can be neither a second cell nor a formula", () => {
  const lines = toCsv([row('a,"b".png'), row("=1+1.png"), row("plain.png")]).split("\r\n");

  expect(lines).toHaveLength(5);
  expect(lines[1]).toContain(',"a,""b"".png",unsure,');
  expect(lines[2]).toContain(",'=1+1.png,");
  expect(new Set([lines[0], lines[3]].map((one) => one?.split(",").length))).toEqual(new Set([16]));
  expect(JSON.parse(toJson([row("=1+1.png")]))[0].source).toBe("=1+1.png");
});

test("the log lets its oldest rows go, and counts them", () => {
  const journal = new Journal();
  journal.add(new Array(ROWS_MAX).fill(row("old")));
  journal.add([row("new"), row("new")]);

  expect([journal.size, journal.dropped]).toEqual([ROWS_MAX, 2]);
  expect(journal.rows("").at(-1)?.source).toBe("new");
  expect(journal.rows("mask")).toEqual([]);
});

test("of two boxes round one face the better stays, of equal ones the earlier", () => {
  const boxes: Box[] = [
    [0, 0, 10, 10],
    [1, 0, 11, 10],
    [50, 50, 60, 60],
    [0, 0, 0, 0],
  ];
  expect(suppress(boxes, [0.5, 0.9, 0.5, 0.5], 0.3)).toEqual([1, 2, 3]);
  expect(suppress(boxes, [0.5, 0.5, 0.5, 0.5], 0.3)).toEqual([0, 2, 3]);
});

test("tiles begin at both edges and overlap by a quarter", () => {
  expect(starts(320, 320)).toEqual([0]);
  const many = starts(1920, 320);
  expect([many[0], many.at(-1)]).toEqual([0, 1600]);
  for (let at = 1; at < many.length; at++) expect((many[at] ?? 0) - (many[at - 1] ?? 0)).toBeLessThanOrEqual(240);
});

test("a picture is looked at in the largest piece that fits, or in the fewest pixels of tiles", () => {
  const sizes: [number, number][] = [
    [320, 256],
    [480, 384],
    [640, 480],
  ];
  expect(choose(sizes, 640, 480)).toEqual({ close: 2, wide: 1, lefts: [], tops: [] });
  expect(choose(sizes, 480, 640)).toEqual({ close: 1, wide: 1, lefts: [0], tops: [0, 256] });
  expect(choose(sizes, 240, 240)).toEqual({ close: 1, wide: 0, lefts: [], tops: [] });
  expect(choose(sizes, 40, 40)).toEqual({ close: 0, wide: null, lefts: [], tops: [] });
  expect(choose(sizes.slice(0, 1), 640, 480).tops).toEqual(starts(480, 256));
});

test("halves are rounded to the even neighbour", () => {
  expect([-1.5, -0.5, 0.5, 1.5, 2.5, 2.51].map(roundEven)).toEqual([-2, 0, 0, 2, 2, 3]);
});
