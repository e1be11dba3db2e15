/** What page and worker say to each other. Pictures go to the worker and nowhere else. */

import type { Finding } from "./core/examine";

export type Order =
  /** base: the page's folder as an absolute address, ending in a slash. */
  | { readonly kind: "start"; readonly id: number; readonly base: string }
  | { readonly kind: "look"; readonly id: number; readonly source: Blob | ImageBitmap; readonly closely: boolean };

export type Answer =
  | { readonly kind: "ready"; readonly id: number }
  /** bitmap: what was looked at, to be shown. */
  | { readonly kind: "found"; readonly id: number; readonly finding: Finding; readonly bitmap: ImageBitmap }
  /** unreadable: no picture; failed: anything else, in the runtime's own words. */
  | { readonly kind: "unreadable"; readonly id: number }
  | { readonly kind: "failed"; readonly id: number; readonly why: string };
