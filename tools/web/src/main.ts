/** The page: wires pictures, clips and the webcam to the nets, and what they say to stage, panel and log. */

import { Journal, rowOf } from "./core/journal";
import { classifier, detector } from "./core/manifest";
import { Looks } from "./core/position";
import { Client, type Looked, Unreadable } from "./page/client";
import { at, make } from "./page/dom";
import { JournalPanel } from "./page/journal-panel";
import { Live, Unplayable } from "./page/live";
import { drawTimes, Pace } from "./page/pace";
import { PositionPanel } from "./page/position-panel";
import { Stage, Strip, spoken } from "./page/stage";
import { type Key, type Language, Text } from "./page/text";

const LOG_EVERY_MS = 1000;
const LIST_EVERY_MS = 250;
const PROBLEMS_MAX = 5;

const text = new Text();
const journal = new Journal();
const looks = new Looks();
const client = new Client();
const stage = new Stage(text);
const strip = new Strip(text, (file) => void lookAgain(file));
const log = new JournalPanel(text, journal);
const panel = new PositionPanel(text);
const closely = at<HTMLInputElement>("closely");
const files = at<HTMLInputElement>("files");

let live: Live | null = null;
let batch = 0; // counts what the user asked for: an older batch stops where a newer one has begun
let kind: "still" | "live" = "still";
const wanted = { still: true, live: false }; // a live board has no time for a closer look either
let light: number | null = null;
let watched: () => string = () => "";
let status: () => string = () => text.say("loading");

const ready = client.start();
ready.then(
  () => {
    document.documentElement.dataset.ready = "true";
    if (batch === 0) say(() => text.say("ready"));
  },
  (error) => complain("broken", { why: reason(error) }),
);

function translate(): void {
  document.documentElement.lang = text.language;
  document.title = `maskwatch · ${text.say("title")}`;
  at<HTMLSelectElement>("language").value = text.language;
  for (const element of document.querySelectorAll<HTMLElement>("[data-t]")) {
    element.textContent = text.say(element.dataset.t as Key);
  }
  const versions = { classifierVersion: classifier.version, detectorVersion: detector.version };
  at("models").textContent = text.say("models", { classifier: classifier.name, detector: detector.name, ...versions });
  at("status").textContent = status();
  log.translate();
  log.draw();
  panel.draw(looks, light);
  stage.draw();
  stage.list();
  strip.translate();
}

function say(words: () => string): void {
  status = words;
  at("status").textContent = words();
}

/** Tell in one line what went wrong; the newest few stay until they are closed. */
function complain(key: Key, values: Readonly<Record<string, string>>): void {
  const close = make("button", { type: "button", "aria-label": text.say("dismiss") }, "×");
  const problem = make("p", { class: "problem" }, make("span", {}, text.say(key, values)), close);
  close.addEventListener("click", () => problem.remove());
  const all = at("problems");
  all.append(problem);
  while (all.childElementCount > PROBLEMS_MAX) all.firstElementChild?.remove();
}

/** Begin something new: whatever ran before ends. Gives its number. */
function begin(what: "still" | "live"): number {
  kind = what;
  closely.checked = wanted[kind];
  live?.stop();
  live = null;
  batch++;
  looks.clear();
  light = null;
  strip.clear();
  at("problems").replaceChildren();
  at("meter").hidden = true;
  at("pause").hidden = at("stop").hidden = true;
  return batch;
}

async function take(chosen: readonly File[]): Promise<void> {
  const clips = chosen.filter(({ type }) => type.startsWith("video/"));
  const pictures = chosen.filter((file) => !clips.includes(file));
  const [clip, ...more] = clips;
  const work = pictures.length > 0 ? lookAtPictures(pictures) : clip && watchClip(clip);
  for (const { name } of pictures.length > 0 ? clips : more) complain("clipAlone", { name });
  await work;
}

async function lookAtPictures(chosen: readonly File[]): Promise<void> {
  const mine = begin("still");
  let pictures = 0;
  let faces = 0;
  for (const file of chosen) {
    if (file.type !== "" && !file.type.startsWith("image/")) {
      complain("neither", { name: file.name });
      continue;
    }
    say(() => text.say("looking", { name: file.name }));
    const looked = await look(file, mine);
    if (mine !== batch) return;
    if (looked === null) continue;
    const { finding } = looked;
    const shown = { name: file.name, ...looked };
    const found = spoken(finding);
    pictures++;
    faces += found.length;
    light = finding.light;
    looks.add(
      finding.faces.map((face) => face.look),
      Number.POSITIVE_INFINITY,
    );
    const where = { source: file.name, at: new Date(), width: finding.width, height: finding.height };
    journal.add(found.map((face) => rowOf(face, where)));
    strip.add(file, shown);
    stage.show(shown, true);
    log.draw();
    panel.draw(looks, light);
    drawTimes(text, finding.ms);
    const single = { name: file.name, count: found.length };
    say(() =>
      pictures === 1
        ? text.say("pictureDone", { name: single.name, faces: text.faces(single.count) })
        : text.say("picturesDone", { count: text.number(pictures), faces: text.faces(faces) }),
    );
  }
  if (pictures === 0) say(() => text.say("ready"));
}

/** Look at one file; null when that cannot be done, and a word about it, or when something newer has begun. */
async function look(file: File, mine: number): Promise<Looked | null> {
  try {
    await ready;
    const looked = await client.look(file, closely.checked);
    if (mine === batch) return looked;
    looked.bitmap.close();
  } catch (error) {
    if (mine === batch) explain(error, "unreadable", file.name);
  }
  return null;
}

/** Show a picture of the strip again; it is in the log already. */
async function lookAgain(file: File): Promise<void> {
  const looked = await look(file, batch);
  if (looked === null) return;
  stage.show({ name: file.name, ...looked }, true);
  say(() => text.say("pictureDone", { name: file.name, faces: text.faces(spoken(looked.finding).length) }));
}

/** Say what an error means. bad: what it is when the file is to blame. */
function explain(error: unknown, bad: "unreadable" | "unplayable", name: string): void {
  if (error instanceof Unreadable || error instanceof Unplayable) complain(bad, { name });
  else complain("broken", { why: reason(error) });
  say(() => text.say("ready"));
}

async function watchClip(file: File): Promise<void> {
  const mine = begin("live");
  try {
    await ready;
    const opened = await Live.clip(file);
    if (mine === batch) await watch(opened, () => file.name, mine);
    else opened.stop();
  } catch (error) {
    if (mine === batch) explain(error, "unplayable", file.name);
  }
}

async function watchWebcam(): Promise<void> {
  const mine = begin("live");
  try {
    await ready;
    const opened = await Live.webcam(() => {
      if (mine === batch) complain("webcamLost", {});
      stop();
    });
    if (mine === batch) await watch(opened, () => text.say("webcamName"), mine);
    else opened.stop();
  } catch (error) {
    if (mine !== batch) return;
    if (!(error instanceof DOMException)) complain("broken", { why: reason(error) });
    else if (error.name === "NotAllowedError") complain("webcamRefused", {});
    else if (error.name === "NotFoundError") complain("webcamNone", {});
    else complain("webcamBusy", { why: error.name });
    say(() => text.say("ready"));
  }
}

async function watch(opened: Live, name: () => string, mine: number): Promise<void> {
  live = opened;
  watched = name;
  at("stop").hidden = false;
  const pause = at("pause");
  pause.hidden = false;
  pause.dataset.t = "pause";
  pause.textContent = text.say("pause");
  say(() => text.say("watching", { name: name() }));
  const isClip = opened.video.srcObject === null;
  let logged = Number.NEGATIVE_INFINITY;
  let listed = Number.NEGATIVE_INFINITY;
  const pace = new Pace();
  const ended = await opened.watch(client, {
    closely: () => closely.checked,
    frame: (looked, seconds) => {
      const { finding } = looked;
      const now = performance.now();
      pace.add(finding.ms, now);
      light = finding.light;
      looks.add(
        finding.faces.map((face) => face.look),
        now,
      );
      const due = now - listed >= LIST_EVERY_MS;
      stage.show({ name: name(), ...looked }, due);
      if (due) {
        listed = now;
        panel.draw(looks, light);
        pace.draw(text);
      }
      if (now - logged >= LOG_EVERY_MS) {
        logged = now;
        const source = isClip ? `${name()} ${seconds.toFixed(1)} s` : name();
        const where = { source, at: new Date(), width: finding.width, height: finding.height };
        journal.add(spoken(finding).map((face) => rowOf(face, where)));
        log.draw();
      }
    },
  });
  if (mine !== batch) return;
  panel.draw(looks, light);
  stage.list();
  if (ended) {
    stop();
    say(() => text.say("ended", { name: name() }));
  }
}

function stop(): void {
  live?.stop();
  live = null;
  at("pause").hidden = at("stop").hidden = true;
  say(() => text.say("stopped"));
}

function togglePause(): void {
  if (live === null) return;
  const { video } = live;
  const pause = at("pause");
  pause.dataset.t = video.paused ? "pause" : "resume";
  if (video.paused) void video.play();
  else video.pause();
  pause.textContent = text.say(pause.dataset.t as Key);
  const paused = pause.dataset.t === "resume";
  say(() => (paused ? text.say("paused") : text.say("watching", { name: watched() })));
}

/** The first line: runtimes tell long stories. */
function reason(error: unknown): string {
  const words = error instanceof Error ? error.message : String(error);
  return words.split("\n")[0] ?? words;
}

function listen(): void {
  at("language").addEventListener("change", (event) => {
    text.choose((event.target as HTMLSelectElement).value as Language);
    translate();
  });
  at("choose").addEventListener("click", () => files.click());
  files.addEventListener("change", () => {
    const chosen = [...(files.files ?? [])];
    files.value = ""; // the same file chosen again is a change again
    void take(chosen);
  });
  closely.addEventListener("change", () => {
    wanted[kind] = closely.checked;
  });
  at("webcam").addEventListener("click", () => void watchWebcam());
  at("pause").addEventListener("click", togglePause);
  at("stop").addEventListener("click", stop);
  at("example").addEventListener("click", async () => {
    const name = text.say("exampleName");
    try {
      const picture = await (await fetch("./example.webp")).blob();
      await take([new File([picture], name, { type: "image/webp" })]);
    } catch {
      complain("unreadable", { name });
    }
  });
  const screen = at("screen");
  // The whole window takes what is dropped: a picture beside the frame must not replace the page.
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    screen.classList.add("over");
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) screen.classList.remove("over");
  });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    screen.classList.remove("over");
    void take([...(event.dataTransfer?.files ?? [])]);
  });
  window.addEventListener("paste", (event) => void take([...(event.clipboardData?.files ?? [])]));
}

/** Keep the page for use without a network. */
async function keepOffline(): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  await navigator.serviceWorker.register("./sw.js");
  await navigator.serviceWorker.ready;
  const offline = at("offline");
  offline.dataset.t = "offlineReady";
  offline.textContent = text.say("offlineReady");
  document.documentElement.dataset.offline = "true";
}

listen();
translate();
// A page opened from where no worker may be kept still works, with the network.
keepOffline().catch(() => undefined);
