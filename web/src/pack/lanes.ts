/** Turns the parts of a frame into values. The HTJ2K decoder is handed in, so that this runs anywhere. */

import { decompress } from "fzstd";

import { levelShape } from "./layout";
import { LANE, PackError } from "./types";
import { allocate, fromBytes, itemSize, type Values } from "./values";

/** One frame at one level, to be decoded. */
export interface DecodeJob {
  lane: number;
  /** The parts the level needs, in order (see `partsOf`). */
  parts: Uint8Array[];
  decompositions: number;
  level: number;
  /** Full-resolution size. */
  rows: number;
  columns: number;
  samples: number;
  dtype: string;
  params: [number, number];
}

/** Decodes a codestream with `discard` resolutions left out; samples interleaved. */
export type CodestreamDecoder = (codestream: Uint8Array, discard: number, rows: number, columns: number) => Int16Array;

/** The codestream holds more bits than the browser's decoder can give; ask the server for values. */
export class NotDecodableHere extends PackError {
  override name = "NotDecodableHere";
}

export function decodeFrame(job: DecodeJob, decodeCodestream: CodestreamDecoder): Values {
  switch (job.lane) {
    case LANE.htj2k:
      return decodeIntegers(job, decodeCodestream);
    case LANE.polyphase:
      return decodePolyphase(job);
    case LANE.float:
      return job.level === 0 ? decodeExactFloats(job) : decodePreview(job, decodeCodestream);
    default:
      throw new NotDecodableHere(`lane ${job.lane} is not known`);
  }
}

/** Parts joined; ended with EOC unless the last part, which has its own, is there. */
export function joinCodestream(parts: readonly Uint8Array[], complete: boolean): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const joined = new Uint8Array(length + (complete ? 0 : 2));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  if (!complete) joined.set([0xff, 0xd9], at);
  return joined;
}

const PREVIEW_LIMIT = 11000;

function runDecoder(job: DecodeJob, decode: CodestreamDecoder, complete: boolean): Int16Array {
  const codestream = joinCodestream(job.parts, complete);
  // The decoder gives 16 bits a value, whatever the codestream declares: enough if the frame's range is.
  const [minimum, maximum] = job.lane === LANE.htj2k ? job.params : [-PREVIEW_LIMIT, PREVIEW_LIMIT];
  if (minimum < -32768 || maximum > 32767) throw new NotDecodableHere(`values up to ${maximum}`);
  const [rows, columns] = levelShape(job.rows, job.columns, job.level);
  const values = decode(codestream, job.level, rows, columns);
  if (values.length !== rows * columns * job.samples) {
    throw new PackError(`decoded ${values.length} values where ${rows}x${columns}x${job.samples} are expected`);
  }
  return values;
}

function decodeIntegers(job: DecodeJob, decode: CodestreamDecoder): Values {
  const decoded = runDecoder(job, decode, job.level === 0);
  const [minimum, maximum] = job.params;
  const values = allocate(job.dtype, decoded.length);
  for (let i = 0; i < decoded.length; i++) {
    const value = decoded[i]!;
    values[i] = value < minimum ? minimum : value > maximum ? maximum : value;
  }
  return values;
}

function decodePreview(job: DecodeJob, decode: CodestreamDecoder): Values {
  const decoded = runDecoder(job, decode, false);
  const [scale, offset] = job.params;
  const values = new Float32Array(decoded.length);
  for (let i = 0; i < decoded.length; i++) {
    const value = Math.max(-PREVIEW_LIMIT, Math.min(PREVIEW_LIMIT, decoded[i]!));
    values[i] = value * scale + offset;
  }
  return values;
}

function decodeExactFloats(job: DecodeJob): Values {
  const size = itemSize(job.dtype);
  return fromBytes(unshuffle(decompress(job.parts[0]!), size), job.dtype);
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

function decodePolyphase(job: DecodeJob): Values {
  const { decompositions, level, samples } = job;
  const size = itemSize(job.dtype);
  const pixel = samples * size;
  let pixels: Uint8Array = new Uint8Array(0);
  job.parts.forEach((part, p) => {
    const raw = part.length ? unshuffle(decompress(part), size) : part;
    const k = decompositions - p;
    const [rows, columns] = levelShape(job.rows, job.columns, k);
    const expected = rows * columns * pixel - pixels.length;
    if (raw.length !== expected) throw new PackError(`part ${p} holds ${raw.length} bytes, not ${expected}`);
    pixels = p === 0 ? raw : interleave(pixels, raw, rows, columns, pixel);
  });
  if (job.parts.length !== decompositions - level + 1) throw new PackError("a part is missing");
  return fromBytes(pixels, job.dtype);
}

/** A level from the next smaller one (even rows, even columns) and the three arrays of the others. */
function interleave(even: Uint8Array, rest: Uint8Array, rows: number, columns: number, pixel: number): Uint8Array {
  const out = new Uint8Array(rows * columns * pixel);
  let at = 0;
  const place = (source: Uint8Array, row0: number, column0: number): void => {
    for (let row = row0; row < rows; row += 2) {
      for (let column = column0; column < columns; column += 2) {
        const to = (row * columns + column) * pixel;
        for (let b = 0; b < pixel; b++) out[to + b] = source[at + b]!;
        at += pixel;
      }
    }
  };
  place(even, 0, 0);
  at = 0;
  place(rest, 0, 1);
  place(rest, 1, 0);
  place(rest, 1, 1);
  return out;
}
