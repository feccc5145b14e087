/** The adaptive binary range coder of the labels lane (docs/design/pack-format.md, Lanes). */

/** Probabilities of a zero, in 1/2048; learned as decisions are decoded. */
export type Contexts = Uint16Array;

/** Contexts that start undecided. */
export function evenContexts(count: number): Contexts {
  return new Uint16Array(count).fill(1024);
}

/** Contexts that start at these shares of zeros. */
export function startsAt(...shares: number[]): Contexts {
  return Uint16Array.from(shares, (share) => Math.round(2048 * share));
}

/** Decodes the decisions of one part. Any bytes decode to something: what does not make sense the caller must refuse. */
export class RangeDecoder {
  // As signed 32-bit integers: small integers are what engines are fast with. Compared after `>>> 0`.
  private range = -1;
  private code = 0;
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {
    for (let i = 0; i < 4; i++) this.code = (this.code << 8) | this.next();
  }

  /** A decision, 0 or 1, whose probability is the context at `index`. */
  bit(contexts: Contexts, index: number): 0 | 1 {
    const p = contexts[index]!;
    const bound = Math.imul(this.range >>> 11, p);
    let decision: 0 | 1;
    if (this.code >>> 0 < bound >>> 0) {
      this.range = bound;
      contexts[index] = p + ((2048 - p) >> 4);
      decision = 0;
    } else {
      this.code = (this.code - bound) | 0;
      this.range = (this.range - bound) | 0;
      contexts[index] = p - (p >> 4);
      decision = 1;
    }
    this.renew();
    return decision;
  }

  /** `count` (at most 31) bits that are as likely 0 as 1, highest first. */
  plain(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      this.range >>>= 1;
      value <<= 1;
      if (this.code >>> 0 >= this.range) {
        this.code = (this.code - this.range) | 0;
        value |= 1;
      }
      this.renew();
    }
    return value;
  }

  private renew(): void {
    while (this.range >>> 0 < 0x1000000) {
      this.code = (this.code << 8) | this.next();
      this.range <<= 8;
    }
  }

  private next(): number {
    return this.at < this.bytes.length ? this.bytes[this.at++]! : 0;
  }
}
