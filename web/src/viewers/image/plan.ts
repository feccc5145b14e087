/** Which bytes to ask for next. Pure, so that it can be tested. */

import { coalesce, partsOf, segmentOf, type Batch, type Segment } from "../../pack/layout";
import type { PackIndex } from "../../pack/types";

export interface Want {
  /** The frame on the screen. */
  frame: number;
  /** Frames that will probably be wanted next, the likeliest first. */
  neighbours: readonly number[];
  /** The level to reach. */
  level: number;
}

/** Longest range that is asked for ahead of need. */
export const AHEAD_BYTES = 256 * 1024;

/** Neighbours are fetched along with the frame on the screen if that adds no more than this. */
const TOGETHER_BYTES = 48 * 1024;

/**
 * Ranges for what is missing, in the order of need: the frame on the screen level by level, with close
 * neighbours where they are cheap; then the neighbours, layer by layer.
 */
export function planFetches(index: PackIndex, want: Want, has: (part: number, frame: number) => boolean): Batch[] {
  const planned = new Set<number>();
  const key = (part: number, frame: number): number => part * index.frames + frame;
  const missing = (part: number, frame: number): boolean => !has(part, frame) && !planned.has(key(part, frame));

  const current: Segment[] = [];
  const near = new Set(want.neighbours.slice(0, 4));
  for (const part of partsOf(index, want.frame, want.level)) {
    if (!missing(part, want.frame)) continue;
    const own = segmentOf(index, part, want.frame);
    const group = [own];
    let budget = TOGETHER_BYTES;
    for (const step of [1, -1]) {
      for (let frame = want.frame + step; near.has(frame) && missing(part, frame); frame += step) {
        const next = segmentOf(index, part, frame);
        budget -= next.stop - next.start;
        if (budget < 0) break;
        if (step > 0) group.push(next);
        else group.unshift(next);
      }
    }
    for (const segment of group) planned.add(key(segment.part, segment.frame));
    current.push(...group);
  }
  const batches = coalesce(current);

  for (const chosen of [want.neighbours.slice(0, 2), want.neighbours.slice(2)]) {
    const frames = [...chosen].sort((a, b) => a - b);
    const parts = new Set(frames.flatMap((frame) => partsOf(index, frame, want.level)));
    for (const part of [...parts].sort((a, b) => a - b)) {
      const segments = frames
        .filter((frame) => missing(part, frame) && partsOf(index, frame, want.level).includes(part))
        .map((frame) => segmentOf(index, part, frame));
      for (const segment of segments) planned.add(key(segment.part, segment.frame));
      batches.push(...coalesce(segments, AHEAD_BYTES));
    }
  }
  return batches;
}
