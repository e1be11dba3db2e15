/** Pictures as the agent's nets see them: packed RGB, rows from the top. */

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** width * height * 3 bytes, RGB. */
  readonly rgb: Uint8Array;
}

/** x0, y0, x1, y1 in pixels of the whole picture; x1 and y1 are exclusive. */
export type Box = readonly [x0: number, y0: number, x1: number, y1: number];

/** Side of the square of equal area: what "a face of 24 px" means everywhere here. */
export function sizePx([x0, y0, x1, y1]: Box): number {
  return Math.sqrt(Math.max(0, x1 - x0) * Math.max(0, y1 - y0));
}

/** Drop the fourth channel, as the agent does. rgba: width * height * 4 bytes, colours not multiplied by alpha. */
export function fromRgba(rgba: Uint8ClampedArray | Uint8Array, width: number, height: number): Picture {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = rgba[from] as number;
    rgb[to + 1] = rgba[from + 1] as number;
    rgb[to + 2] = rgba[from + 2] as number;
  }
  return { width, height, rgb };
}

/** Copy a part that lies wholly inside. */
export function cut(picture: Picture, left: number, top: number, width: number, height: number): Picture {
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * picture.width + left) * 3;
    rgb.set(picture.rgb.subarray(from, from + width * 3), y * width * 3);
  }
  return { width, height, rgb };
}

/** Turn left and right round. */
export function mirror({ width, height, rgb }: Picture): Picture {
  const turned = new Uint8Array(rgb.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * 3;
      turned.set(rgb.subarray(from, from + 3), (y * width + width - 1 - x) * 3);
    }
  }
  return { width, height, rgb: turned };
}
