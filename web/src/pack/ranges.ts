/** Answers to requests for byte ranges (RFC 9110, 14), read piece by piece. */

import type { ByteRange } from "./layout";
import { PackError } from "./types";

/** As many ranges as a server answers at once. */
export const RANGES_AT_ONCE = 256;

const MOST_HEAD_BYTES = 4096;

export interface Answer {
  /** Whether everything that was asked for has come. */
  readonly done: boolean;
  /** Take the next bytes of the answer's body. */
  feed(chunk: Uint8Array): void;
}

/**
 * Reads the answer to a request for `asked`, which ascend and do not touch. `take` gets their bytes, one after
 * the other. A server may send the whole object instead (200), or several parts (multipart/byteranges).
 */
export function answerOf(
  status: number,
  contentType: string,
  asked: readonly ByteRange[],
  take: (chunk: Uint8Array) => void,
): Answer {
  if (status !== 206) return new Pieces(asked, take, 0);
  if (asked.length === 1) return new Pieces(asked, take, asked[0]!.start);
  const boundary = /^multipart\/byteranges;.*?boundary="?([^";,\s]{1,70})"?/i.exec(contentType)?.[1];
  if (boundary === undefined) throw new PackError("the server did not answer with the ranges that were asked for");
  return new Multipart(asked, take, boundary);
}

/** Cuts what was asked for out of bytes that begin at `position` of the object. */
class Pieces implements Answer {
  private current = 0;

  constructor(
    private readonly asked: readonly ByteRange[],
    private readonly take: (chunk: Uint8Array) => void,
    private position: number,
  ) {}

  get done(): boolean {
    return this.current === this.asked.length;
  }

  feed(chunk: Uint8Array): void {
    const end = this.position + chunk.length;
    while (!this.done) {
      const { start, stop } = this.asked[this.current]!;
      const from = Math.max(start, this.position);
      const to = Math.min(stop, end);
      if (from < to) this.take(chunk.subarray(from - this.position, to - this.position));
      if (stop > end) break;
      this.current++;
    }
    this.position = end;
  }

  /** Go on at another place of the object; what is left out there must have come. */
  seek(position: number): void {
    const next = this.asked[this.current];
    if (next && (position > next.start || this.position > next.start)) {
      throw new PackError("the server left out a range that was asked for");
    }
    this.position = position;
  }
}

/** Parts with heads of their own; the length of a part comes from its Content-Range, not from its content. */
class Multipart implements Answer {
  private readonly pieces: Pieces;
  private readonly delimiter: string;
  /** Bytes of a head that has not come completely. */
  private head = "";
  /** Bytes that are left of the part under way. */
  private left = 0;

  constructor(asked: readonly ByteRange[], take: (chunk: Uint8Array) => void, boundary: string) {
    this.pieces = new Pieces(asked, take, 0);
    this.delimiter = `--${boundary}`;
  }

  get done(): boolean {
    return this.pieces.done;
  }

  feed(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length && !this.done) {
      if (this.left > 0) {
        const size = Math.min(this.left, chunk.length - at);
        this.pieces.feed(chunk.subarray(at, at + size));
        this.left -= size;
        at += size;
        continue;
      }
      this.head += String.fromCharCode(chunk[at++]!);
      if (this.head.endsWith("\r\n\r\n")) this.begin();
      else if (this.head.length > MOST_HEAD_BYTES) throw new PackError("the server's answer makes no sense");
    }
  }

  private begin(): void {
    const range = /\r\ncontent-range:[ \t]*bytes (\d{1,15})-(\d{1,15})\//i.exec(this.head);
    if (!this.head.includes(this.delimiter) || !range) {
      throw new PackError("the server's answer of several ranges makes no sense");
    }
    this.head = "";
    const start = Number(range[1]);
    this.left = Number(range[2]) + 1 - start;
    this.pieces.seek(start);
  }
}
