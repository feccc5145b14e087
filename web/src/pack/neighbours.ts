/** What the neighbours of pixels say of their labels (docs/design/pack-format.md, Lanes, labels). */

import { startsAt, type Contexts } from "./rangecoder";

/** No label: not known yet, or outside the level. */
export const NOWHERE = 0xffff;
/** Neighbours reach this far; levels are padded by as much with NOWHERE, so that no edge needs care. */
const REACH = 3;

type Offset = readonly [row: number, column: number];

interface Phase {
  /** The first pixel: odd or even rows and columns. */
  row: 0 | 1;
  column: 0 | 1;
  near: readonly Offset[];
  far: readonly Offset[];
}

export const PHASES: readonly Phase[] = [
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

/** [m, s, shares of H for f = 0 to 3, shares of S]. */
const SHARES: readonly (readonly [m: number, s: number, first: readonly number[], second?: readonly number[]])[] = [
  [1, 1, [0.27, 0.27, 0.27, 0.27], [0.36, 0.36, 0.36, 0.36]],
  [2, 0, [0.97, 0.97, 0.97, 0.97]],
  [2, 1, [0.75, 0.56, 0.4, 0.29], [0.48, 0.48, 0.48, 0.48]],
  [2, 2, [0.45, 0.46, 0.62, 0.4], [0.9, 0.96, 0.98, 0.99]],
  [3, 0, [0.98, 0.98, 0.98, 0.98]],
  [3, 1, [0.84, 0.95, 0.95, 0.82], [0.76, 0.86, 0.92, 0.97]],
  [4, 0, [0.91, 0.988, 0.997, 0.998]],
];

/** H and S of each phase, as they start. */
export function guessContexts(): { first: Contexts[]; second: Contexts[] } {
  const [first, second] = [2, 3].map((which) => {
    const shares = Array<number>(contextOf(5, 0, 0)).fill(0.5);
    for (const row of SHARES) {
      (row[which as 2 | 3] ?? []).forEach((share, f) => (shares[contextOf(row[0], row[1], f)] = share));
    }
    return PHASES.map(() => startsAt(...shares));
  }) as [Contexts[], Contexts[]];
  return { first, second };
}

/** Ranks of one level in rows of `stride`, with REACH of NOWHERE around them. */
export interface Level {
  ranks: Uint16Array;
  rows: number;
  columns: number;
  stride: number;
}

export function newLevel(rows: number, columns: number): Level {
  const stride = columns + 2 * REACH;
  const ranks = new Uint16Array((rows + 2 * REACH) * stride).fill(NOWHERE);
  return { ranks, rows, columns, stride };
}

export const rowStart = (level: Level, row: number): number => (row + REACH) * level.stride + REACH;

/** A level whose even rows and columns are those of `smaller`; the others are not known. */
export function sharper(smaller: Level, rows: number, columns: number): Level {
  const level = newLevel(rows, columns);
  for (let row = 0; row < smaller.rows; row++) {
    let from = rowStart(smaller, row);
    const start = rowStart(level, 2 * row);
    for (let to = start; to < start + columns; to += 2) level.ranks[to] = smaller.ranks[from++]!;
  }
  return level;
}

/** The ranks of a level without what lies around them. */
export function withoutBorder(level: Level): Uint16Array {
  const { ranks, rows, columns } = level;
  const out = new Uint16Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const start = rowStart(level, row);
    out.set(ranks.subarray(start, start + columns), row * columns);
  }
  return out;
}

/** The pixels of a phase, told apart into sure ones and others, in C order. */
export class Guesses {
  sure = 0;
  unsure = 0;
  /** Where they lie. */
  readonly sureAt: Int32Array;
  readonly unsureAt: Int32Array;
  /** Of the others: contexts in H and S, and the second and third guess or NOWHERE. */
  readonly context: Uint8Array;
  readonly second: Uint16Array;
  readonly third: Uint16Array;

  constructor({ rows, columns }: Level) {
    const pixels = Math.ceil(rows / 2) * Math.ceil(columns / 2);
    this.sureAt = new Int32Array(pixels);
    this.unsureAt = new Int32Array(pixels);
    this.context = new Uint8Array(pixels);
    this.second = new Uint16Array(pixels);
    this.third = new Uint16Array(pixels);
  }

  /** Write the first guess of every pixel of a phase, and note the rest. A phase reads only pixels before it. */
  make(level: Level, phase: Phase): void {
    const { ranks, rows, columns, stride } = level;
    const place = ([row, column]: Offset): number => row * stride + column;
    const near = phase.near.map(place);
    const [n0, n1, n2, n3] = near as [number, number, number, number];
    const far = phase.far.map(place);
    const everyone = [...near, ...far];
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
        let second = NOWHERE;
        let m = 4;
        let s = 0;
        if (a !== b || a !== c || a !== d || a === NOWHERE) {
          // Votes of each neighbour's rank, counted at the first that has it.
          const va = a === NOWHERE ? 0 : 1 + +(b === a) + +(c === a) + +(d === a);
          const vb = b === NOWHERE || b === a ? 0 : 1 + +(c === b) + +(d === b);
          const vc = c === NOWHERE || c === a || c === b ? 0 : 1 + +(d === c);
          const vd = d === NOWHERE || d === a || d === b || d === c ? 0 : 1;
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
          else if (rank !== NOWHERE) against++;
        }
        ranks[at] = first;
        if (s === 0 && against === 0) {
          this.sureAt[sure++] = at;
          continue;
        }
        let third = NOWHERE;
        for (let i = 0; i < everyone.length && third === NOWHERE; i++) {
          const rank = ranks[at + everyone[i]!]!;
          if (rank !== first && rank !== second) third = rank;
        }
        this.unsureAt[unsure] = at;
        this.context[unsure] = contextOf(m, s, AGREEMENT[agreeing]!);
        this.second[unsure] = second;
        this.third[unsure++] = third;
      }
    }
    this.sure = sure;
    this.unsure = unsure;
  }
}
