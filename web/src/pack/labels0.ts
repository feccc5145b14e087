/** The labels lane as it was first written (docs/design/pack-format.md, Labels of version 0); nothing writes it now. */

import { levelShape } from "./layout";
import { guessContexts, Guesses, newLevel, NOWHERE, PHASES, rowStart, sharper, withoutBorder, type Level } from "./neighbours";
import { evenContexts, RangeDecoder, type Contexts } from "./rangecoder";
import { PackError } from "./types";

const MOST_LABELS = 256;
const GAP_CONTEXTS = 40;

/** What is learned over the parts of a frame. */
interface Model {
  count: number;
  /** Bits of a label. */
  bits: number;
  nodes: Contexts;
  gaps: Contexts[];
  first: Contexts[];
  second: Contexts[];
}

/** The bytes of a level of a frame, as `decodeLabels` gives them. Throws PackError if they cannot be. */
export function decodeLabels0(
  parts: readonly Uint8Array[],
  decompositions: number,
  rows: number,
  columns: number,
  size: number,
): Uint8Array {
  const head = parts[0]!;
  const count = head.length < 2 ? 0 : head[0]! | (head[1]! << 8);
  if (count < 1 || count > MOST_LABELS) throw new PackError(`a table of ${count} labels, not of 1 to ${MOST_LABELS}`);
  const tableEnd = 2 + count * size;
  if (head.length < tableEnd) throw new PackError(`part 0 holds ${head.length} bytes, not the ${tableEnd} of its table`);
  const table = head.subarray(2, tableEnd);

  const shape = (p: number): [number, number] => levelShape(rows, columns, decompositions - p);
  if (count === 1) {
    const [levelRows, levelColumns] = shape(parts.length - 1);
    return lookUp(new Uint16Array(levelRows * levelColumns), table, size);
  }
  const model: Model = {
    count,
    bits: 32 - Math.clz32(count - 1),
    nodes: evenContexts(MOST_LABELS),
    gaps: PHASES.map(() => evenContexts(GAP_CONTEXTS)),
    ...guessContexts(),
  };
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

function refine(smaller: Level, part: Uint8Array, model: Model, rows: number, columns: number): Level {
  const level = sharper(smaller, rows, columns);
  const coder = part.length ? new RangeDecoder(part) : null;
  const guesses = new Guesses(level);
  PHASES.forEach((phase, number) => {
    guesses.make(level, phase);
    if (!coder || guesses.sure + guesses.unsure === 0) return;
    correctSure(level.ranks, guesses, coder, model, model.gaps[number]!);
    correctOthers(level.ranks, guesses, coder, model, model.first[number]!, model.second[number]!);
  });
  return level;
}

function correctSure(ranks: Uint16Array, guesses: Guesses, coder: RangeDecoder, model: Model, gaps: Contexts): void {
  for (let left = guesses.sure; ; left--) {
    const gap = decodeGap(coder, gaps);
    if (gap > left) throw new PackError(`a gap of ${gap} pixels where ${left} are left`);
    left -= gap;
    if (left === 0) return;
    ranks[guesses.sureAt[guesses.sure - left]!] = decodeLabel(coder, model);
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
  guesses: Guesses,
  coder: RangeDecoder,
  model: Model,
  firsts: Contexts,
  seconds: Contexts,
): void {
  for (let i = 0; i < guesses.unsure; i++) {
    const context = guesses.context[i]!;
    if (coder.bit(firsts, context) === 0) continue;
    const second = guesses.second[i]!;
    const right = second !== NOWHERE && coder.bit(seconds, context) === 0;
    ranks[guesses.unsureAt[i]!] = right ? second : decodeLabel(coder, model);
  }
}

/** The values that the ranks stand for. */
function lookUp(ranks: Uint16Array, table: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(ranks.length * size);
  for (let i = 0, to = 0; i < ranks.length; i++) {
    const from = ranks[i]! * size;
    for (let b = 0; b < size; b++) out[to++] = table[from + b]!;
  }
  return out;
}
