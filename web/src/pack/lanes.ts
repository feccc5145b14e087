/** Turns the parts of a frame into values. The HTJ2K decoder is handed in, so that this runs anywhere. */

import { decodeLabels } from "./labels";
import { levelShape } from "./layout";
import { inflateShuffled } from "./shuffled";
import { LANE, PackError } from "./types";
import { exactFromBytes, exactFromNumbers, forDisplay, itemSize, type ExactValues, type Values } from "./values";

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

/** The frame holds more than the browser's decoder can give; ask the server for values. */
export class NotDecodableHere extends PackError {
  override name = "NotDecodableHere";
}

/** The values of a frame for the screen. Throws PackError, or NotDecodableHere, which is one. */
export function decodeFrame(job: DecodeJob, decodeCodestream: CodestreamDecoder): Values {
  return forDisplay(decodeExact(job, decodeCodestream), job.dtype);
}

/** The values of a frame, bit for bit. Throws PackError, or NotDecodableHere, which is one. */
export function decodeExact(job: DecodeJob, decodeCodestream: CodestreamDecoder): ExactValues {
  const wanted = job.lane === LANE.float && job.level === 0 ? 1 : job.decompositions - job.level + 1;
  if (job.parts.length !== wanted) throw new PackError(`${job.parts.length} parts where ${wanted} are needed`);
  switch (job.lane) {
    case LANE.htj2k:
      return decodeIntegers(job, decodeCodestream);
    case LANE.polyphase:
      return decodePolyphase(job);
    case LANE.float:
      return job.level === 0 ? decodeExactFloats(job) : decodePreview(job, decodeCodestream);
    case LANE.affine:
      return decodeAffine(job, decodeCodestream);
    case LANE.ranked:
      return decodeRanked(job, decodeCodestream);
    case LANE.complex:
      return decodeComplex(job, decodeCodestream);
    case LANE.labels:
      return decodeLabelled(job);
    case LANE.source:
      // A browser's JPEG decoder may be off by one from the exact one, and of the other codecs it has few.
      throw new NotDecodableHere("a whole codestream of another codec");
    default:
      throw new NotDecodableHere(`lane ${job.lane} is not known`);
  }
}

/** Whether a frame may need the HTJ2K decoder. */
export function needsCodestreams({ lane, level }: Pick<DecodeJob, "lane" | "level">): boolean {
  if (lane === LANE.float) return level > 0;
  return lane === LANE.htj2k || lane === LANE.affine || lane === LANE.ranked || lane === LANE.complex;
}

/** How many values a frame has at the level of a job. */
function valueCount(job: DecodeJob, level = job.level): number {
  const [rows, columns] = levelShape(job.rows, job.columns, level);
  return rows * columns * job.samples;
}

// -- lanes with a codestream --------------------------------------------------------------------------------

/** Parts joined; ended with EOC unless the last part, which has its own, is there. */
function joinCodestream(parts: readonly Uint8Array[], complete: boolean): Uint8Array {
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

/** The integers of a codestream made of `parts`, clamped to [minimum, maximum]. */
function runDecoder(
  job: DecodeJob,
  parts: readonly Uint8Array[],
  [minimum, maximum]: readonly [number, number],
  decode: CodestreamDecoder,
): Int16Array {
  if (!(minimum <= maximum)) throw new PackError(`a minimum of ${minimum} and a maximum of ${maximum}`);
  // The decoder gives 16 bits a value, whatever the codestream declares: enough if the frame's range is.
  if (minimum < -32768 || maximum > 32767) throw new NotDecodableHere(`values from ${minimum} to ${maximum}`);
  const codestream = joinCodestream(parts, job.level === 0);
  checkSize(codestream, job);
  const [rows, columns] = levelShape(job.rows, job.columns, job.level);
  let values: Int16Array;
  try {
    values = decode(codestream, job.level, rows, columns);
  } catch (cause) {
    if (cause instanceof NotDecodableHere) throw cause;
    throw new PackError("a codestream cannot be decoded", { cause });
  }
  if (values.length !== rows * columns * job.samples) {
    throw new PackError(`decoded ${values.length} values where ${rows}x${columns}x${job.samples} are expected`);
  }
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value < minimum) values[i] = minimum;
    else if (value > maximum) values[i] = maximum;
  }
  return values;
}

/** Refuse a codestream of another shape before the decoder takes memory and time for it (ISO/IEC 15444-1, A.5.1). */
function checkSize(codestream: Uint8Array, { columns, rows, samples }: DecodeJob): void {
  const view = new DataView(codestream.buffer);
  if (codestream.length < 42 + 3 * samples || view.getUint32(0) !== 0xff4fff51) {
    throw new PackError("a codestream has no beginning");
  }
  // Ends and beginnings of the image and of its one tile, the number of components, and their subsampling.
  const found = [8, 12, 16, 20, 24, 28, 32, 36].map((at) => view.getUint32(at));
  found.push(view.getUint16(40));
  for (let at = 43; at < 42 + 3 * samples; at += 3) found.push(view.getUint16(at));
  const expected = [columns, rows, 0, 0, columns, rows, 0, 0, samples, ...Array<number>(samples).fill(0x0101)];
  if (found.some((value, i) => value !== expected[i])) {
    throw new PackError(`a codestream of shape ${found.join(" ")} where ${expected.join(" ")} is expected`);
  }
}

function decodeIntegers(job: DecodeJob, decode: CodestreamDecoder): ExactValues {
  const [minimum, maximum] = job.params;
  if (!Number.isSafeInteger(minimum) || !Number.isSafeInteger(maximum)) {
    throw new NotDecodableHere(`values from ${minimum} to ${maximum}`);
  }
  const base = minimum >= -(2 ** 31) && maximum < 2 ** 31 ? 0 : minimum;
  const coded = runDecoder(job, job.parts, [minimum - base, maximum - base], decode);
  return base === 0 ? exactFromNumbers(coded, job.dtype) : scaled(coded, 1, base, job.dtype);
}

/** The numbers value * slope + intercept in float64, rounded to the type of the frame. */
function scaled(values: Int16Array, slope: number, intercept: number, dtype: string): ExactValues {
  const numbers = new Float64Array(values.length);
  for (let i = 0; i < numbers.length; i++) numbers[i] = values[i]! * slope + intercept;
  return exactFromNumbers(numbers, dtype);
}

const PREVIEW_RANGE = [-11000, 11000] as const;

function decodePreview(job: DecodeJob, decode: CodestreamDecoder): ExactValues {
  const [scale, offset] = job.params;
  return scaled(runDecoder(job, job.parts, PREVIEW_RANGE, decode), scale, offset, job.dtype);
}

function decodeAffine(job: DecodeJob, decode: CodestreamDecoder): ExactValues {
  const [head, parts] = beheaded(job.parts, 16);
  const coded = runDecoder(job, parts, job.params, decode);
  return scaled(coded, head.getFloat64(0, true), head.getFloat64(8, true), job.dtype);
}

const MOST_RANKS = 4096;

function decodeRanked(job: DecodeJob, decode: CodestreamDecoder): ExactValues {
  const [head] = beheaded(job.parts, 8);
  const [count, stored] = [head.getUint32(0, true), head.getUint32(4, true)];
  if (count < 1 || count > MOST_RANKS) throw new PackError(`a table of ${count} values`);
  const [minimum, maximum] = job.params;
  if (minimum < 0 || maximum >= count) throw new PackError(`ranks from ${minimum} to ${maximum} of ${count}`);
  const [, parts] = beheaded(job.parts, 8 + stored);
  const size = itemSize(job.dtype);
  const table = inflateShuffled(job.parts[0]!.subarray(8, 8 + stored), size, count * size);
  const ranks = runDecoder(job, parts, job.params, decode);
  // Bytes are copied, so that every NaN keeps its bits.
  const bytes = new Uint8Array(ranks.length * size);
  for (let i = 0, to = 0; i < ranks.length; i++) {
    const from = ranks[i]! * size;
    for (let b = 0; b < size; b++) bytes[to++] = table[from + b]!;
  }
  return exactFromBytes(bytes, job.dtype);
}

/** The first `length` bytes of part 0, and the parts without them. */
function beheaded(parts: readonly Uint8Array[], length: number): [head: DataView, parts: Uint8Array[]] {
  const [first, ...others] = parts as [Uint8Array, ...Uint8Array[]];
  if (first.length < length) throw new PackError(`part 0 ends before its first ${length} bytes`);
  return [new DataView(first.buffer, first.byteOffset, length), [first.subarray(length), ...others]];
}

// -- lanes without ------------------------------------------------------------------------------------------

function decodeExactFloats(job: DecodeJob): ExactValues {
  const size = itemSize(job.dtype);
  return exactFromBytes(inflateShuffled(job.parts[0]!, size, valueCount(job) * size), job.dtype);
}

function decodePolyphase(job: DecodeJob): ExactValues {
  const size = itemSize(job.dtype);
  const pixel = job.samples * size;
  let pixels: Uint8Array = new Uint8Array(0);
  job.parts.forEach((part, p) => {
    const k = job.decompositions - p;
    const length = valueCount(job, k) * size - pixels.length;
    if (part.length === 0 && length > 0) throw new PackError(`part ${p} is empty`);
    const raw = length === 0 ? part : inflateShuffled(part, size, length);
    pixels = p === 0 ? raw : interleave(pixels, raw, ...levelShape(job.rows, job.columns, k), pixel);
  });
  return exactFromBytes(pixels, job.dtype);
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

function decodeLabelled(job: DecodeJob): ExactValues {
  return exactFromBytes(decodeLabels(job, itemSize(job.dtype)), job.dtype);
}

// -- two lanes in one ---------------------------------------------------------------------------------------

/** Lane and params of the real and of the imaginary part. */
const COMPLEX_HEAD = 2 * 17;

function decodeComplex(job: DecodeJob, decode: CodestreamDecoder): ExactValues {
  const dtype = { complex64: "float32", complex128: "float64" }[job.dtype];
  if (!dtype) throw new PackError(`complex numbers of type ${job.dtype}`);
  const [head, parts] = beheaded(job.parts, COMPLEX_HEAD);
  const split = parts.map((part, p) => {
    const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
    const stop = part.length < 4 ? Infinity : 4 + view.getUint32(0, true);
    if (stop > part.length) throw new PackError(`part ${p} ends within its real part`);
    return [part.subarray(4, stop), part.subarray(stop)] as const;
  });
  // Copied as words, so that every NaN keeps its bits.
  const words = itemSize(dtype) / 4;
  const pairs = new Uint32Array(2 * valueCount(job) * words);
  for (const side of [0, 1] as const) {
    const lane = head.getUint8(17 * side);
    if (lane === LANE.complex) throw new PackError("complex numbers within complex numbers");
    const own = split.map((both) => both[side]);
    const plane = decodeExact({
      ...job,
      lane,
      dtype,
      parts: lane === LANE.float && job.level === 0 ? own.slice(-1) : own,
      params: paramsAt(head, 17 * side + 1, lane),
    }, decode);
    const from = new Uint32Array(plane.buffer);
    for (let i = 0; i < from.length; i += words) {
      for (let word = 0; word < words; word++) pairs[2 * i + side * words + word] = from[i + word]!;
    }
  }
  return exactFromBytes(new Uint8Array(pairs.buffer), job.dtype);
}

function paramsAt(view: DataView, at: number, lane: number): [number, number] {
  if (lane === LANE.float) return [view.getFloat64(at, true), view.getFloat64(at + 8, true)];
  return [Number(view.getBigInt64(at, true)), Number(view.getBigInt64(at + 8, true))];
}
