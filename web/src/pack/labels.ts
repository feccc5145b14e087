/** The labels lane: frames of few values, predicted from their neighbours (docs/design/pack-format.md, Lanes). */

import { decodeLabels0 } from "./labels0";
import { levelShape } from "./layout";
import { guessContexts, Guesses, newLevel, NOWHERE, PHASES, rowStart, sharper, withoutBorder, type Level } from "./neighbours";
import { evenContexts, RangeDecoder, startsAt } from "./rangecoder";
import { PackError } from "./types";

const MOST_LABELS = NOWHERE;
/** Bytes of a value in the table. */
const MOST_BYTES = 8;
/** Bits. */
const LONGEST_GAP = 32;

/** What a frame is, and the parts of it that a level needs. */
export interface Labelled {
  /** From the first to the last that the level needs. */
  parts: readonly Uint8Array[];
  decompositions: number;
  /** Of full resolution. */
  rows: number;
  columns: number;
  samples: number;
  /** The first of the two integers in the frame's params. */
  params: readonly [number, number];
}

/**
 * The bytes (little-endian values of `size` bytes, samples of a pixel together, in C order) of a level of a frame.
 * Throws PackError if they cannot be.
 */
export function decodeLabels(frame: Labelled, size: number): Uint8Array {
  const { parts, decompositions, rows, columns, samples, params } = frame;
  const version = params[0] % 256;
  if (version === 0) {
    if (samples !== 1) throw new PackError(`labels of ${samples} samples a pixel`);
    return decodeLabels0(parts, decompositions, rows, columns, size);
  }
  const apart = Math.floor(params[0] / 256) % 256;
  if (version !== 1 || apart > 1) throw new PackError(`labels of kind ${params[0]}`);
  const count = apart ? samples : 1;
  const own = apart ? size : size * samples;
  if (own > MOST_BYTES) throw new PackError(`labels of ${own} bytes`);
  if (parts[0]!.length === 0) throw new PackError("part 0 is empty");

  const shape = (p: number): [number, number] => levelShape(rows, columns, decompositions - p);
  let coder = new RangeDecoder(parts[0]!);
  const planes = Array.from({ length: count }, () => {
    const plane = new Plane(coder, own);
    plane.start(coder, ...shape(0));
    return plane;
  });
  for (let p = 1; p < parts.length; p++) {
    coder = new RangeDecoder(parts[p]!);
    for (const plane of planes) plane.refine(coder, ...shape(p));
  }
  const [levelRows, levelColumns] = shape(parts.length - 1);
  const out = new Uint8Array(levelRows * levelColumns * samples * size);
  planes.forEach((plane, number) => plane.write(out, number * own, count * own));
  return out;
}

/** One picture of labels, and the probabilities that are learned over its parts. */
class Plane {
  private readonly size: number;
  private readonly table: Uint8Array;
  /** n: how many values there are. */
  private readonly count: number;
  /** Bits of a label. */
  private readonly bits: number;
  private readonly nodes;
  private readonly left = startsAt(0.59, 0.46, 0.42, 0.41, 0.65, 0.92, 0.81, 0.993);
  private readonly up = startsAt(0.6, 0.6, 0.6, 0.6);
  private readonly guesses = guessContexts();
  private readonly third = startsAt(0.85, 0.85, 0.85);
  private readonly surprises = PHASES.map(() => startsAt(0.97, 0.5));
  private readonly gaps = PHASES.map(() => evenContexts(LONGEST_GAP));
  private level!: Level;

  /** Reads the table of its values, of `size` bytes each. */
  constructor(coder: RangeDecoder, size: number) {
    this.size = size;
    const bytes: number[] = [];
    const sizes = startsAt(...Array<number>(MOST_BYTES + 1).fill(0.75));
    const more = evenContexts(2);
    // The least that the next value may be, lowest byte first, with a byte for what is too much.
    const value = new Uint8Array(size + 1);
    let count = 0;
    do {
      let length = 0;
      while (coder.bit(sizes, length) === 1) {
        if (++length > size) throw new PackError(`a label of more than ${size} bytes`);
      }
      const over = new Uint8Array(size + 1);
      for (let i = length - 1; i >= 0; i--) over[i] = coder.plain(8);
      add(value, over, 0);
      if (value[size] !== 0 || count === MOST_LABELS) throw new PackError("a table of labels goes too far");
      for (let i = 0; i < size; i++) bytes.push(value[i]!);
      add(value, null, 1);
      count++;
    } while (coder.bit(more, count > 1 ? 1 : 0) === 1);
    this.table = Uint8Array.from(bytes);
    this.count = count;
    this.bits = 32 - Math.clz32(count - 1);
    this.nodes = evenContexts(1 << this.bits);
  }

  /** The smallest level. */
  start(coder: RangeDecoder, rows: number, columns: number): void {
    const level = newLevel(rows, columns);
    this.level = level;
    const { ranks, stride } = level;
    for (let row = 0; row < rows; row++) {
      const from = rowStart(level, row);
      if (this.count === 1) {
        ranks.fill(0, from, from + columns);
        continue;
      }
      for (let at = from; at < from + columns; at++) {
        const up = row > 0 ? ranks[at - stride]! : 0;
        const left = at > from ? ranks[at - 1]! : up;
        const corner = row > 0 && at > from ? ranks[at - stride - 1]! : up;
        const right = row > 0 && at < from + columns - 1 ? ranks[at - stride + 1]! : up;
        const context = (up === left ? 4 : 0) + (corner === left ? 2 : 0) + (right === up ? 1 : 0);
        if (coder.bit(this.left, context) === 0) ranks[at] = left;
        else if (up !== left && coder.bit(this.up, context) === 0) ranks[at] = up;
        else ranks[at] = this.label(coder);
      }
    }
  }

  /** The level twice as sharp as the last one, whose pixels are its even rows and columns. */
  refine(coder: RangeDecoder, rows: number, columns: number): void {
    if (this.count === 1) return this.start(coder, rows, columns);
    const level = sharper(this.level, rows, columns);
    const guesses = new Guesses(level);
    PHASES.forEach((phase, number) => {
      guesses.make(level, phase);
      this.correctSure(level.ranks, guesses, coder, number);
      this.correctOthers(level.ranks, guesses, coder, number);
    });
    this.level = level;
  }

  private correctSure(ranks: Uint16Array, { sure, sureAt }: Guesses, coder: RangeDecoder, phase: number): void {
    const surprises = this.surprises[phase]!;
    for (let place = 0, number = 0; place < sure; place++, number++) {
      if (coder.bit(surprises, number > 0 ? 1 : 0) === 0) return;
      place += this.gap(coder, phase);
      if (place >= sure) throw new PackError(`a surprise at pixel ${place} of ${sure}`);
      ranks[sureAt[place]!] = this.label(coder);
    }
  }

  private correctOthers(ranks: Uint16Array, guesses: Guesses, coder: RangeDecoder, phase: number): void {
    const { unsure, unsureAt, context, second, third } = guesses;
    const [firsts, seconds] = [this.guesses.first[phase]!, this.guesses.second[phase]!];
    for (let i = 0; i < unsure; i++) {
      if (coder.bit(firsts, context[i]!) === 0) continue;
      let rank: number;
      if (second[i] !== NOWHERE && coder.bit(seconds, context[i]!) === 0) rank = second[i]!;
      else if (third[i] !== NOWHERE && coder.bit(this.third, phase) === 0) rank = third[i]!;
      else rank = this.label(coder);
      ranks[unsureAt[i]!] = rank;
    }
  }

  private label(coder: RangeDecoder): number {
    let node = 1;
    for (let i = 0; i < this.bits; i++) node = 2 * node + coder.bit(this.nodes, node);
    const rank = node - (1 << this.bits);
    if (rank >= this.count) throw new PackError(`label ${rank} of ${this.count}`);
    return rank;
  }

  private gap(coder: RangeDecoder, phase: number): number {
    let length = 0;
    while (coder.bit(this.gaps[phase]!, length) === 1) {
      // No frame has as many pixels.
      if (++length > 30) throw new PackError("a gap is longer than any frame");
    }
    return ((1 << length) | coder.plain(length)) - 1;
  }

  /** Put the value of every pixel into `out`, the first at `offset` and each `stride` after the one before. */
  write(out: Uint8Array, offset: number, stride: number): void {
    const { size, table } = this;
    let to = offset;
    for (const rank of withoutBorder(this.level)) {
      for (let b = 0; b < size; b++) out[to + b] = table[rank * size + b]!;
      to += stride;
    }
  }
}

/** Add to a number of bytes, lowest first. */
function add(value: Uint8Array, other: Uint8Array | null, carry: number): void {
  for (let i = 0; i < value.length; i++) {
    const sum = value[i]! + (other ? other[i]! : 0) + carry;
    value[i] = sum & 0xff;
    carry = sum >> 8;
  }
}
