/** Stored colours to RGBA for the screen (DICOM PS3.3 C.7.6.3.1.2). */

import type { Values } from "../../pack/values";

/**
 * Two, three or four samples a pixel to RGBA, 8 bits a channel. `bits` is how many bits a sample uses.
 * Alpha is kept; the viewer draws on black.
 */
export function toRgba(values: Values, samples: number, photometric: string, bits: number): Uint8ClampedArray {
  const pixels = values.length / samples;
  const out = new Uint8ClampedArray(pixels * 4);
  const scale = values instanceof Float32Array ? 255 : 255 / (2 ** bits - 1);
  const full = photometric === "YBR_FULL" || photometric === "YBR_FULL_422";
  const partial = photometric.startsWith("YBR_PARTIAL");
  for (let i = 0, from = 0, to = 0; i < pixels; i++, from += samples, to += 4) {
    const first = values[from]! * scale;
    if (samples === 2) {
      out[to] = out[to + 1] = out[to + 2] = first;
      out[to + 3] = values[from + 1]! * scale;
      continue;
    }
    const second = values[from + 1]! * scale;
    const third = values[from + 2]! * scale;
    if (full || partial) {
      const y = full ? first : 1.1644 * (first - 16);
      const [b, r] = full ? [second - 128, third - 128] : [1.1384 * (second - 128), 1.1384 * (third - 128)];
      out[to] = y + 1.402 * r;
      out[to + 1] = y - 0.344136 * b - 0.714136 * r;
      out[to + 2] = y + 1.772 * b;
    } else {
      out[to] = first;
      out[to + 1] = second;
      out[to + 2] = third;
    }
    out[to + 3] = samples > 3 ? values[from + 3]! * scale : 255;
  }
  return out;
}

/** A table of `count` colours that tells neighbouring labels apart; 0 is black. RGBA. */
export function labelColours(count = 256): Uint8Array {
  const table = new Uint8Array(count * 4);
  for (let i = 0; i < count; i++) {
    const hue = (i * 0.61803398875 + 0.93) % 1;
    const value = i === 0 ? 0 : 1 - 0.22 * (Math.floor(i / 7) % 3);
    const saturation = 0.62 + 0.3 * ((i >> 1) % 2);
    for (let c = 0; c < 3; c++) {
      const k = (c * 4 + 5 + hue * 6) % 6;
      const channel = value * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1)));
      table[4 * i + c] = Math.round(255 * channel);
    }
    table[4 * i + 3] = 255;
  }
  return table;
}

/** A palette of the series as an RGBA table. */
export function paletteTable(palette: readonly (readonly number[])[]): Uint8Array {
  const table = new Uint8Array(palette.length * 4);
  palette.forEach(([r = 0, g = 0, b = 0], i) => table.set([r, g, b, 255], 4 * i));
  return table;
}
