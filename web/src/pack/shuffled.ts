/** Zstandard frames of byte-shuffled values. */

import { decompress } from "fzstd";

import { PackError } from "./types";

/** The values of a zstd frame that has to hold `length` bytes of values of `size` bytes. Throws PackError. */
export function inflateShuffled(stored: Uint8Array, size: number, length: number): Uint8Array {
  const claimed = contentSize(stored);
  if (claimed !== null && claimed !== length) throw new PackError(`a zstd frame of ${claimed} bytes, not ${length}`);
  try {
    // Into memory of the right size: a frame that lies cannot take more.
    return unshuffle(decompress(stored, new Uint8Array(length)), size);
  } catch (cause) {
    throw new PackError("a part is not a sound zstd frame", { cause });
  }
}

/** What a zstd frame says its content takes (RFC 8878, 3.1.1.1); null if it does not say. */
function contentSize(stored: Uint8Array): number | null {
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  if (stored.length < 9 || view.getUint32(0, true) !== 0xfd2fb528) throw new PackError("a part is not a zstd frame");
  const descriptor = stored[4]!;
  const single = (descriptor >> 5) & 1;
  const at = 5 + (1 - single) + [0, 1, 2, 4][descriptor & 3]!;
  const width = [single, 2, 4, 8][descriptor >> 6]!;
  if (at + width > stored.length) throw new PackError("a zstd frame ends in its header");
  switch (width) {
    case 0:
      return null;
    case 1:
      return stored[at]!;
    case 2:
      return view.getUint16(at, true) + 256;
    case 4:
      return view.getUint32(at, true);
    default:
      return Number(view.getBigUint64(at, true));
  }
}

/** Undo byte shuffling: the stream holds all lowest bytes first, then all second bytes, and so on. */
export function unshuffle(bytes: Uint8Array, size: number): Uint8Array {
  if (size === 1) return bytes;
  const count = bytes.length / size;
  if (!Number.isInteger(count)) throw new PackError("a shuffled part has a broken length");
  const out = new Uint8Array(bytes.length);
  for (let b = 0; b < size; b++) {
    const plane = b * count;
    for (let i = 0, at = b; i < count; i++, at += size) out[at] = bytes[plane + i]!;
  }
  return out;
}
