/** OpenJPH (WebAssembly) as a CodestreamDecoder. */

import type { OpenJph } from "@cornerstonejs/codec-openjph";

import type { CodestreamDecoder } from "./lanes";

export function openJphDecoder(module: OpenJph): CodestreamDecoder {
  return (codestream, discard, rows) => {
    const decoder = new module.HTJ2KDecoder();
    try {
      decoder.getEncodedBuffer(codestream.length).set(codestream);
      if (discard === 0) decoder.decode();
      else decoder.decodeSubResolution(discard);
      const info = decoder.getFrameInfo();
      const bytes = decoder.getDecodedBuffer().slice();
      const values = packLines(new Int16Array(bytes.buffer, 0, bytes.length >> 1), info, rows);
      // Without a colour transform OpenJPH gives one component after the other, and this build
      // writes them as if they came line by line in turn.
      const interleaved = info.componentCount === 1 || info.isUsingColorTransform;
      return interleaved ? values : untangle(values, info.componentCount, rows);
    } finally {
      decoder.delete();
    }
  };
}

/**
 * Components of more than 16 bits come as 16-bit values (clamped) at the beginning of lines that are as
 * long as the declared bits ask for: take the values, leave the gaps.
 */
function packLines(values: Int16Array, info: { bitsPerSample: number }, rows: number): Int16Array {
  const wide = Math.ceil(info.bitsPerSample / 8) / 2;
  if (wide === 1) return values;
  const stride = values.length / rows;
  const line = stride / wide;
  const out = new Int16Array(line * rows);
  for (let row = 0; row < rows; row++) out.set(values.subarray(row * stride, row * stride + line), row * line);
  return out;
}

function untangle(values: Int16Array, components: number, rows: number): Int16Array {
  const columns = values.length / rows / components;
  const out = new Int16Array(values.length);
  for (let line = 0; line < rows * components; line++) {
    const [fromRow, fromComponent] = [Math.floor(line / components), line % components];
    const [toRow, toComponent] = [line % rows, Math.floor(line / rows)];
    for (let x = 0; x < columns; x++) {
      out[(toRow * columns + x) * components + toComponent] =
        values[(fromRow * columns + x) * components + fromComponent]!;
    }
  }
  return out;
}
