/** Where the bytes of frames and levels lie, and which to fetch. Pure arithmetic over an index. */

import { LANE, type PackIndex } from "./types";

export interface ByteRange {
  start: number;
  stop: number;
}

/** One part of one frame, as a place in the pack. */
export interface Segment extends ByteRange {
  part: number;
  frame: number;
}

/** Rows and columns of a level: halved `level` times, rounded up. */
export function levelShape(rows: number, columns: number, level: number): [number, number] {
  return [Math.ceil(rows / 2 ** level), Math.ceil(columns / 2 ** level)];
}

/** The last part that a level needs; smaller parts are needed too, but see `partsOf`. */
export function lastPart(index: PackIndex, level: number): number {
  return index.decompositions - level;
}

/** The parts that a level of a frame needs, in order. The exact part of the float lane stands alone. */
export function partsOf(index: PackIndex, frame: number, level: number): number[] {
  const last = lastPart(index, level);
  if (last < 0 || last > index.decompositions) throw new RangeError(`there is no level ${level}`);
  if (index.lanes[frame] === LANE.float && level === 0) return [last];
  return Array.from({ length: last + 1 }, (_, part) => part);
}

export function segmentOf(index: PackIndex, part: number, frame: number): Segment {
  const i = part * index.frames + frame;
  const start = index.offsets[i]!;
  return { part, frame, start, stop: start + index.lengths[i]! };
}

/** A part as its lane defines it, from its bytes in the pack: the header of a codestream lies in the index. */
export function wholePart(index: PackIndex, part: number, frame: number, stored: Uint8Array): Uint8Array {
  const head = part === 0 ? index.head(frame) : new Uint8Array(0);
  if (head.length === 0) return stored;
  const whole = new Uint8Array(head.length + stored.length);
  whole.set(head);
  whole.set(stored, head.length);
  return whole;
}

/** All segments that hold a level of all frames, in the order of the pack. */
export function volumeSegments(index: PackIndex, level: number): Segment[] {
  const parts = Array.from({ length: lastPart(index, level) + 1 }, (_, part) => part);
  const segments: Segment[] = [];
  for (let first = 0; first < index.frames; first += index.blockFrames) {
    segments.push(...segmentsOf(index, parts, first, Math.min(first + index.blockFrames, index.frames) - 1));
  }
  return segments;
}

/** The ranges of the pack that hold a level of all frames: one a block, joined where they touch. */
export function volumeRanges(index: PackIndex, level: number): ByteRange[] {
  const filled = volumeSegments(index, level).filter(({ start, stop }) => stop > start);
  return coalesce(filled).map(({ start, stop }) => ({ start, stop }));
}

/** Bytes that a level of all frames takes. */
export function volumeBytes(index: PackIndex, level: number): number {
  let sum = 0;
  const count = (lastPart(index, level) + 1) * index.frames;
  for (let i = 0; i < count; i++) sum += index.lengths[i]!;
  return sum;
}

/** The sharpest level that takes at most `budget` bytes over the whole volume; null if none does. */
export function levelWithin(index: PackIndex, budget: number): number | null {
  for (let level = 0; level <= index.decompositions; level++) {
    if (volumeBytes(index, level) <= budget) return level;
  }
  return null;
}

/** Segments of the given parts and frames [first, last] of one block, in the order of the pack. */
export function segmentsOf(index: PackIndex, parts: readonly number[], first: number, last: number): Segment[] {
  const segments: Segment[] = [];
  for (const part of parts) {
    for (let frame = first; frame <= last; frame++) segments.push(segmentOf(index, part, frame));
  }
  return segments;
}

export interface Batch extends ByteRange {
  segments: Segment[];
}

/** Join neighbours into ranges: no gap inside a range, and none longer than `limit` unless one segment is. */
export function coalesce(segments: readonly Segment[], limit = Infinity): Batch[] {
  const batches: Batch[] = [];
  for (const segment of segments) {
    const open = batches.at(-1);
    if (open && open.stop === segment.start && segment.stop - open.start <= limit) {
      open.stop = segment.stop;
      open.segments.push(segment);
    } else {
      batches.push({ start: segment.start, stop: segment.stop, segments: [segment] });
    }
  }
  return batches;
}

/**
 * The smallest level that is still as sharp as the screen.
 * `scale` is device pixels per full-resolution pixel, along the axis with the larger scale.
 */
export function levelForScale(scale: number, decompositions: number): number {
  if (!(scale > 0)) return decompositions;
  const level = Math.floor(Math.log2(1 / scale) + 1e-6);
  return Math.min(Math.max(level, 0), decompositions);
}
