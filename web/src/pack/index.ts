/** Reads the index of a series: a zstd frame that says where every part of every frame lies. */

import { decompress } from "fzstd";

import { crc32c } from "./crc32c";
import { LANE, PackError, type PackIndex, type SeriesFacts } from "./types";

export * from "./types";

interface Facts {
  series: SeriesFacts;
  decompositions: number;
  block_frames?: number;
  head_bytes?: number;
  body: [number, number];
}

/** Parse an index as it lies in the pack (compressed). Throws PackError if it is damaged. */
export function parseIndex(stored: Uint8Array): PackIndex {
  let bytes: Uint8Array;
  try {
    bytes = decompress(stored);
  } catch (cause) {
    throw new PackError("the index is not a zstd frame", { cause });
  }
  const magic = String.fromCharCode(...bytes.subarray(0, 4));
  if (bytes.length < 12 || (magic !== "IMX1" && magic !== "IMX2")) {
    throw new PackError("the index does not begin with IMX1 or IMX2");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - 4;
  if (crc32c(bytes.subarray(0, end)) !== view.getUint32(end, true)) {
    throw new PackError("the index is damaged: its checksum does not match");
  }

  const textLength = view.getUint32(4, true);
  const facts = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + textLength))) as Facts;
  const frames = facts.series.frames;
  const parts = facts.decompositions + 1;

  const paramsAt = Math.ceil((8 + textLength) / 8) * 8;
  const lengthsAt = paramsAt + 16 * frames + 32 * frames;
  const checksumsAt = lengthsAt + 4 * parts * frames;
  const lanesAt = checksumsAt + 4 * parts * frames;
  const head = readHeads(bytes.subarray(lanesAt + frames, end), facts.head_bytes ?? 0, frames);

  const count = parts * frames;
  const lengths = new Uint32Array(count);
  const checksums = new Uint32Array(count);
  for (let i = 0; i < count; i++) checksums[i] = view.getUint32(checksumsAt + 4 * i, true);
  if (magic === "IMX1") {
    for (let i = 0; i < count; i++) lengths[i] = view.getUint32(lengthsAt + 4 * i, true);
  } else {
    readLengths(bytes.subarray(lengthsAt, checksumsAt), frames, lengths);
  }

  const blockFrames = facts.block_frames ?? frames;
  if (!(Number.isInteger(blockFrames) && blockFrames > 0)) throw new PackError("blocks have no size");
  const offsets = new Float64Array(count);
  let offset = facts.body[0];
  for (let first = 0; first < frames; first += blockFrames) {
    const stop = Math.min(first + blockFrames, frames);
    for (let part = 0; part < parts; part++) {
      for (let i = part * frames + first; i < part * frames + stop; i++) {
        offsets[i] = offset;
        offset += lengths[i]!;
      }
    }
  }
  if (offset !== facts.body[1]) throw new PackError("the parts do not fill the body");

  const lanes = bytes.slice(lanesAt, lanesAt + frames);
  return {
    series: facts.series,
    decompositions: facts.decompositions,
    parts,
    frames,
    blockFrames,
    body: { start: facts.body[0], stop: facts.body[1] },
    lengths,
    offsets,
    checksums,
    lanes,
    head,
    params(frame) {
      const at = paramsAt + 16 * frame;
      if (lanes[frame] === LANE.float) return [view.getFloat64(at, true), view.getFloat64(at + 8, true)];
      return [Number(view.getBigInt64(at, true)), Number(view.getBigInt64(at + 8, true))];
    },
  };
}

/** Zigzag differences from frame to frame, all lowest bytes first, then all second bytes, and so on. */
function readLengths(planes: Uint8Array, frames: number, lengths: Uint32Array): void {
  const count = lengths.length;
  for (let i = 0; i < count; i++) {
    const zigzag =
      (planes[i]! | (planes[count + i]! << 8) | (planes[2 * count + i]! << 16) | (planes[3 * count + i]! << 24)) >>> 0;
    const step = (zigzag >>> 1) ^ -(zigzag & 1);
    lengths[i] = (i % frames === 0 ? 0 : lengths[i - 1]!) + step; // modulo 2 ** 32
  }
}

/** A template, which of its bytes vary, those bytes of each frame, and which frames have a header at all. */
function readHeads(bytes: Uint8Array, length: number, frames: number): (frame: number) => Uint8Array {
  const template = bytes.subarray(0, length);
  const positions = Array.from(bytes.subarray(length, 2 * length).entries()).flatMap(([at, varies]) => (varies ? [at] : []));
  const values = 2 * length;
  const headed = values + positions.length * frames;
  const expected = length === 0 ? 0 : headed + frames;
  if (bytes.length !== expected) {
    throw new PackError(`the index holds ${bytes.length} bytes of headers where ${expected} are expected`);
  }
  return (frame) => {
    if (length === 0 || !bytes[headed + frame]) return new Uint8Array(0);
    const head = template.slice();
    positions.forEach((position, i) => {
      head[position] = bytes[values + i * frames + frame]!;
    });
    return head;
  };
}
