/** The labels lane: frames of few values, predicted from their neighbours (docs/design/pack-format.md, Lanes). */

import { levelShape } from "./layout";
import { evenContexts, RangeDecoder, type Contexts } from "./rangecoder";
import { PackError } from "./types";

const MOST_VALUES = 256;
const GAP_CONTEXTS = 40;
/** Neighbours reach this far; levels are padded by as much with OUTSIDE, so that no edge needs care. */
const REACH = 3;
const OUTSIDE = 0xffff;

type Offset = readonly [row: number, column: number];

interface Phase {
  /** The first pixel: odd or even rows and columns. */
  row: 0 | 1;
  column: 0 | 1;
  near: readonly Offset[];
  far: readonly Offset[];
}

const PHASES: readonly Phase[] = [
  {
    row: 1,
    column: 1,
    near: [[-1, -1], [-1, 1], [1, -1], [1, 1]],
    far: [[-3, -1], [-3, 1], [3, -1], [3, 1], [-1, -3], [1, -3], [-1, 3], [1, 3]],
  },
  {
    row: 0,
    column: 1,
    near: [[0, -1], [0, 1], [-1, 0], [1, 0]],
    far: [[-2, -1], [-2, 1], [2, -1], [2, 1], [-1, -2], [1, -2], [-1, 2], [1, 2]],
  },
  {
    row: 1,
    column: 0,
    near: [[0, -1], [0, 1], [-1, 0], [1, 0]],
    far: [[-1, -1], [-1, 1], [1, -1], [1, 1], [-1, -2], [1, -2], [-1, 2], [1, 2]],
  },
];

/** Class of agreement for 0 to 8 far neighbours that have the first guess. */
const AGREEMENT = [0, 0, 1, 1, 1, 2, 2, 3, 3] as const;
/** m (0 to 4), s (0 to 2), f (0 to 3). */
const contextOf = (m: number, s: number, f: number): number => (m * 3 + s) * 4 + f;
const GUESS_CONTEXTS = contextOf(5, 0, 0);

/** [m, s, shares of H for f = 0 to 3, shares of S]. */
const SHARES: readonly (readonly [m: number, s: number, first: readonly number[], second?: ReadonlyArray<number>])[] = [
  [1, 1, [0.27, 0.27, 0.27, 0.27], [0.36, 0.36, 0.36, 0.36]],
  [2, 0, [0.97, 0.97, 0.97, 0.97]],
  [2, 1, [0.75, 0.56, 0.4, 0.29], [0.48, 0.48, 0.48, 0.48]],
  [2, 2, [0.45, 0.46, 0.62, 0.4], [0.9, 0.96, 0.98, 0.99]],
  [3, 0, [0.98, 0.98, 0.98, 0.98]],
  [3, 1, [0.84, 0.95, 0.95, 0.82], [0.76, 0.86, 0.92, 0.97]],
  [4, 0, [0.91, 0.988, 0.997, 0.998]],
];

/** What is learned over the parts of a frame. */
interface Model {
  /** n: how many values there are. */
  count: number;
  /** Bits of a label. */
  bits: number;
  nodes: Contexts;
  /** G, H and S of each phase. */
  gaps: Contexts[];
  first: Contexts[];
  second: Contexts[];
}

function newModel(count: number): Model {
  const first = evenContexts(GUESS_CONTEXTS);
  const second = evenContexts(GUESS_CONTEXTS);
  for (const [m, s, h, others] of SHARES) {
    h.forEach((share, f) => (first[contextOf(m, s, f)] = Math.round(2048 * share)));
    others?.forEach((share, f) => (second[contextOf(m, s, f)] = Math.round(2048 * share)));
  }
  return {
    count,
    bits: 32 - Math.clz32(count - 1),
    nodes: evenContexts(MOST_VALUES),
    gaps: PHASES.map(() => evenContexts(GAP_CONTEXTS)),
    first: PHASES.map(() => first.slice()),
    second: PHASES.map(() => second.slice()),
  };
}

/** Ranks of one level in rows of `stride`, with REACH of OUTSIDE around them. */
interface Level {
  ranks: Uint16Array;
  rows: number;
  columns: number;
  stride: number;
}

function newLevel(rows: number, columns: number): Level {
  const stride = columns + 2 * REACH;
  const ranks = new Uint16Array((rows + 2 * REACH) * stride).fill(OUTSIDE);
  return { ranks, rows, columns, stride };
}

const rowStart = (level: Level, row: number): number => (row + REACH) * level.stride + REACH;

/**
 * The bytes (little-endian values of `size` bytes, in C order) of a level of a frame of `rows` x `columns`.
 * `parts` are the parts of the frame from the first up to the last that the level needs; `decompositions` is D.
 * Throws PackError if they cannot be.
 */
export function decodeLabels(
  parts: readonly Uint8Array[],
  decompositions: number,
  rows: number,
  columns: number,
  size: number,
): Uint8Array {
  const head = parts[0]!;
  const count = head.length < 2 ? 0 : head[0]! | (head[1]! << 8);
  if (count < 1 || count > MOST_VALUES) throw new PackError(`a table of ${count} labels, not of 1 to ${MOST_VALUES}`);
  const tableEnd = 2 + count * size;
  if (head.length < tableEnd) throw new PackError(`part 0 holds ${head.length} bytes, not the ${tableEnd} of its table`);
  const table = head.subarray(2, tableEnd);

  const shape = (p: number): [number, number] => levelShape(rows, columns, decompositions - p);
  if (count === 1) {
    const [levelRows, levelColumns] = shape(parts.length - 1);
    return lookUp(new Uint16Array(levelRows * levelColumns), table, size);
  }
  const model = newModel(count);
  let level = decodeSmallest(head.subarray(tableEnd), model, ...shape(0));
  for (let p = 1; p < parts.length; p++) level = refine(level, parts[p]!, model, ...shape(p));
  return lookUp(withoutBorder(level), table, size);
}

function decodeLabel(coder: RangeDecoder, model: Model): number {
  let node = 1;
  for (let i = 0; i < model.bits; i++) node = 2 * node + coder.bit(model.nodes, node);
  const rank = node - (1 << model.bits);
  if (rank >= model.count) throw new PackError(`label ${rank} of ${model.count}`);
  return rank;
}

function decodeSmallest(bytes: Uint8Array, model: Model, rows: number, columns: number): Level {
  const level = newLevel(rows, columns);
  const { ranks, stride } = level;
  const coder = new RangeDecoder(bytes);
  const contexts = evenContexts(3);
  for (let row = 0; row < rows; row++) {
    let at = rowStart(level, row);
    for (let column = 0; column < columns; column++, at++) {
      const up = row > 0 ? ranks[at - stride]! : 0;
      const left = column > 0 ? ranks[at - 1]! : up;
      if (coder.bit(contexts, left === up ? 1 : 0) === 0) ranks[at] = left;
      else if (left !== up && coder.bit(contexts, 2) === 0) ranks[at] = up;
      else ranks[at] = decodeLabel(coder, model);
    }
  }
  return level;
}

/** The level twice as sharp as `smaller`, whose pixels are its even rows and columns. */
function refine(smaller: Level, part: Uint8Array, model: Model, rows: number, columns: number): Level {
  const level = newLevel(rows, columns);
  for (let row = 0; row < smaller.rows; row++) {
    let from = rowStart(smaller, row);
    const start = rowStart(level, 2 * row);
    for (let to = start; to < start + columns; to += 2) level.ranks[to] = smaller.ranks[from++]!;
  }
  const coder = part.length ? new RangeDecoder(part) : null;
  const scratch = new Scratch(Math.ceil(rows / 2) * Math.ceil(columns / 2));
  PHASES.forEach((phase, number) => {
    guess(level, phase, scratch);
    if (!coder || scratch.sure + scratch.unsure === 0) return;
    const { ranks } = level;
    correctSure(ranks, scratch, coder, model, model.gaps[number]!);
    correctOthers(ranks, scratch, coder, model, model.first[number]!, model.second[number]!);
  });
  return level;
}

/** The pixels of a phase, told apart into sure ones and others, in C order. */
class Scratch {
  sure = 0;
  unsure = 0;
  /** Where they lie. */
  readonly sureAt: Int32Array;
  readonly unsureAt: Int32Array;
  /** Contexts and second guesses of the others. */
  readonly context: Uint8Array;
  readonly other: Uint8Array;

  constructor(pixels: number) {
    this.sureAt = new Int32Array(pixels);
    this.unsureAt = new Int32Array(pixels);
    this.context = new Uint8Array(pixels);
    this.other = new Uint8Array(pixels);
  }
}

/** Write the first guess of every pixel of a phase, and note which are sure. A phase reads only pixels before it. */
function guess(level: Level, phase: Phase, scratch: Scratch): void {
  const { ranks, rows, columns, stride } = level;
  const place = ([row, column]: Offset): number => row * stride + column;
  const [n0, n1, n2, n3] = phase.near.map(place) as [number, number, number, number];
  const far = phase.far.map(place);
  let sure = 0;
  let unsure = 0;
  for (let row = phase.row; row < rows; row += 2) {
    const start = rowStart(level, row);
    for (let at = start + phase.column; at < start + columns; at += 2) {
      const a = ranks[at + n0]!;
      const b = ranks[at + n1]!;
      const c = ranks[at + n2]!;
      const d = ranks[at + n3]!;
      let first = a;
      let second = 0;
      let m = 4;
      let s = 0;
      if (a !== b || a !== c || a !== d || a === OUTSIDE) {
        // Votes of each neighbour's rank, counted at the first that has it.
        const va = a === OUTSIDE ? 0 : 1 + +(b === a) + +(c === a) + +(d === a);
        const vb = b === OUTSIDE || b === a ? 0 : 1 + +(c === b) + +(d === b);
        const vc = c === OUTSIDE || c === a || c === b ? 0 : 1 + +(d === c);
        const vd = d === OUTSIDE || d === a || d === b || d === c ? 0 : 1;
        m = va;
        if (vb > m) {
          m = vb;
          first = b;
        }
        if (vc > m) {
          m = vc;
          first = c;
        }
        if (vd > m) {
          m = vd;
          first = d;
        }
        if (va > s && a !== first) {
          s = va;
          second = a;
        }
        if (vb > s && b !== first) {
          s = vb;
          second = b;
        }
        if (vc > s && c !== first) {
          s = vc;
          second = c;
        }
        if (vd > s && d !== first) {
          s = vd;
          second = d;
        }
      }
      let agreeing = 0;
      let against = 0;
      for (let i = 0; i < 8; i++) {
        const rank = ranks[at + far[i]!]!;
        if (rank === first) agreeing++;
        else if (rank !== OUTSIDE) against++;
      }
      ranks[at] = first;
      if (s === 0 && against === 0) {
        scratch.sureAt[sure++] = at;
      } else {
        scratch.unsureAt[unsure] = at;
        scratch.context[unsure] = contextOf(m, s, AGREEMENT[agreeing]!);
        scratch.other[unsure++] = second;
      }
    }
  }
  scratch.sure = sure;
  scratch.unsure = unsure;
}

function correctSure(ranks: Uint16Array, scratch: Scratch, coder: RangeDecoder, model: Model, gaps: Contexts): void {
  for (let left = scratch.sure; ; left--) {
    const gap = decodeGap(coder, gaps);
    if (gap > left) throw new PackError(`a gap of ${gap} pixels where ${left} are left`);
    left -= gap;
    if (left === 0) return;
    ranks[scratch.sureAt[scratch.sure - left]!] = decodeLabel(coder, model);
  }
}

function decodeGap(coder: RangeDecoder, contexts: Contexts): number {
  let length = 0;
  while (coder.bit(contexts, length) === 1) {
    // No frame has as many pixels.
    if (++length > 30) throw new PackError("a gap is longer than any frame");
  }
  return ((1 << length) | coder.plain(length)) - 1;
}

function correctOthers(
  ranks: Uint16Array,
  scratch: Scratch,
  coder: RangeDecoder,
  model: Model,
  firsts: Contexts,
  seconds: Contexts,
): void {
  for (let i = 0; i < scratch.unsure; i++) {
    const context = scratch.context[i]!;
    if (coder.bit(firsts, context) === 0) continue;
    // s > 0: there is a second guess.
    const second = (context >> 2) % 3 > 0 && coder.bit(seconds, context) === 0;
    ranks[scratch.unsureAt[i]!] = second ? scratch.other[i]! : decodeLabel(coder, model);
  }
}

function withoutBorder(level: Level): Uint16Array {
  const { ranks, rows, columns } = level;
  const out = new Uint16Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const start = rowStart(level, row);
    out.set(ranks.subarray(start, start + columns), row * columns);
  }
  return out;
}

/** The values that the ranks stand for. */
function lookUp(ranks: Uint16Array, table: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(ranks.length * size);
  if (size === 1) {
    for (let i = 0; i < ranks.length; i++) out[i] = table[ranks[i]!]!;
    return out;
  }
  for (let i = 0, to = 0; i < ranks.length; i++) {
    const from = ranks[i]! * size;
    for (let b = 0; b < size; b++) out[to++] = table[from + b]!;
  }
  return out;
}
