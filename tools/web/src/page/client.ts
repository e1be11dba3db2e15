/** The page's end of the worker: a promise for each order, one order after the other. */

import type { Finding } from "../core/examine";
import type { Answer, Order } from "../messages";
import NetWorker from "../worker?worker&inline";

export interface Looked {
  readonly finding: Finding;
  /** What was looked at; close it when it is no longer shown. */
  readonly bitmap: ImageBitmap;
}

/** The file is no picture. */
export class Unreadable extends Error {}

/** The nets or the browser fail; the message is the runtime's own. */
export class Broken extends Error {}

export class Client {
  // Inline: a worker made of the page's own text has the page's Content-Security-Policy on any host.
  readonly #worker = new NetWorker();
  readonly #waiting = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  #count = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => this.#take(data);
    this.#worker.onerror = (event) => this.#fail(new Broken(event.message || "worker"));
  }

  /** Load the nets. Raises Broken. */
  async start(): Promise<void> {
    await this.#ask({ kind: "start", base: new URL("./", document.baseURI).href }, []);
  }

  /** Look at a file or a frame; a frame is handed over and comes back. Raises Unreadable or Broken. */
  look(source: Blob | ImageBitmap, closely: boolean): Promise<Looked> {
    // In turn: a second order would only wait in the worker, with its picture in memory.
    const turn = this.#last.then(async () => {
      const answer = await this.#ask({ kind: "look", source, closely }, source instanceof ImageBitmap ? [source] : []);
      if (answer.kind !== "found") throw new Broken(answer.kind);
      return { finding: answer.finding, bitmap: answer.bitmap };
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  #ask(order: OrderWithoutId, handedOver: Transferable[]): Promise<Answer> {
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...order, id }, handedOver);
    });
  }

  #take(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.kind === "unreadable") waiting?.reject(new Unreadable());
    else if (answer.kind === "failed") waiting?.reject(new Broken(answer.why));
    else waiting?.resolve(answer);
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;
type OrderWithoutId = WithoutId<Order>;
