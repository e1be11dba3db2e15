/** Moving pictures: a clip or the webcam, frame after frame as fast as the nets go; frames in between are left out. */

import type { Client, Looked } from "./client";

/** The file is no clip that this browser plays. */
export class Unplayable extends Error {}

/** What a loop over frames tells. */
export interface Watcher {
  /** A frame has been looked at. at: seconds of the clip, or since the webcam was opened. */
  frame(looked: Looked, at: number): void;
  closely(): boolean;
}

/** A source that plays. */
export class Live {
  readonly video: HTMLVideoElement;
  readonly #release: () => void;
  #stopped = false;

  private constructor(video: HTMLVideoElement, release: () => void) {
    this.video = video;
    this.#release = release;
  }

  /** Open a clip. Raises Unplayable. */
  static async clip(file: File): Promise<Live> {
    const video = muted();
    const address = URL.createObjectURL(file);
    video.src = address;
    const live = new Live(video, () => {
      video.removeAttribute("src");
      video.load();
      URL.revokeObjectURL(address);
    });
    try {
      await metadata(video);
    } catch {
      live.stop();
      throw new Unplayable();
    }
    if (video.videoWidth === 0) {
      live.stop();
      throw new Unplayable();
    }
    return live;
  }

  /** Open the webcam. Raises DOMException as getUserMedia does. */
  static async webcam(lost: () => void): Promise<Live> {
    const wanted = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: { ideal: "environment" } };
    // Where a page is not served securely there are no media devices at all.
    if (navigator.mediaDevices === undefined) throw new DOMException("https is needed", "NotFoundError");
    const stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    const video = muted();
    video.srcObject = stream;
    for (const track of stream.getTracks()) track.addEventListener("ended", lost);
    await metadata(video);
    return new Live(video, () => {
      for (const track of stream.getTracks()) track.stop();
      video.srcObject = null;
    });
  }

  /** Look at frames until the end of the clip or `stop`. Gives whether it came to its end. Raises Broken. */
  async watch(client: Client, watcher: Watcher): Promise<boolean> {
    const { video } = this;
    try {
      await video.play();
      while (!this.#stopped && (await freshFrame(video, () => this.#stopped))) {
        const at = video.currentTime;
        const bitmap = await createImageBitmap(video, { colorSpaceConversion: "none" });
        const looked = await client.look(bitmap, watcher.closely());
        if (this.#stopped) looked.bitmap.close();
        else watcher.frame(looked, at);
      }
    } catch (error) {
      // Whoever stops takes the picture away from under a call that waits for it.
      if (!(this.#stopped && error instanceof DOMException)) throw error;
    }
    return !this.#stopped;
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.video.pause();
    this.#release();
  }
}

function muted(): HTMLVideoElement {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true });
  return video;
}

function metadata(video: HTMLVideoElement): Promise<void> {
  return new Promise((resolve, reject) => {
    video.addEventListener("loadedmetadata", () => resolve(), { once: true });
    video.addEventListener("error", () => reject(new Unplayable()), { once: true });
  });
}

/** Wait for a frame that was not there before. Gives false when there will be none. */
function freshFrame(video: HTMLVideoElement, stopped: () => boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const done = (fresh: boolean) => {
      clearInterval(watch);
      video.cancelVideoFrameCallback(handle);
      resolve(fresh);
    };
    const handle = video.requestVideoFrameCallback(() => done(true));
    // A clip's end and a stop bring no frame.
    const watch = setInterval(() => {
      if (stopped() || video.ended || video.error !== null) done(false);
    }, 100);
  });
}
