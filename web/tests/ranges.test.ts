import { describe, expect, it } from "vitest";

import { answerOf } from "../src/pack/ranges";

const DATA = Uint8Array.from({ length: 1024 }, (_, i) => i % 256);
const ASKED = [{ start: 0, stop: 10 }, { start: 300, stop: 301 }, { start: 900, stop: 1024 }];
const KIND = 'multipart/byteranges; boundary="edge"';

function multipart(ranges: { start: number; stop: number }[]): Uint8Array {
  const text = (words: string): number[] => [...new TextEncoder().encode(words)];
  const parts = ranges.flatMap(({ start, stop }) => [
    ...text(`\r\n--edge\r\nContent-Type: a/b\r\nContent-Range: bytes ${start}-${stop - 1}/1024\r\n\r\n`),
    ...DATA.subarray(start, stop),
  ]);
  return Uint8Array.from([...parts, ...text("\r\n--edge--\r\n")]);
}

function read(status: number, kind: string, body: Uint8Array, size: number, asked = ASKED) {
  const taken: number[] = [];
  const answer = answerOf(status, kind, asked, (chunk) => taken.push(...chunk));
  for (let at = 0; at < body.length && !answer.done; at += size) answer.feed(body.subarray(at, at + size));
  return { taken, done: answer.done };
}

const EXPECTED = ASKED.flatMap(({ start, stop }) => [...DATA.subarray(start, stop)]);

describe("answers of several ranges", () => {
  for (const size of [1, 2, 7, 64, 100, 1 << 20]) {
    it(`come in pieces of ${size}`, () => {
      expect(read(206, KIND, multipart(ASKED), size)).toEqual({ taken: EXPECTED, done: true });
      expect(read(200, "", DATA, size)).toEqual({ taken: EXPECTED, done: true });
      const one = [{ start: 300, stop: 420 }];
      const taken = [...DATA.subarray(300, 420)];
      expect(read(206, "", DATA.subarray(300, 420), size, one)).toEqual({ taken, done: true });
    });
  }

  it("may hold more than was asked for", () => {
    const body = multipart([{ start: 0, stop: 400 }, { start: 890, stop: 1024 }]);
    expect(read(206, KIND, body, 50)).toEqual({ taken: EXPECTED, done: true });
  });

  it("are not done when something is missing", () => {
    expect(read(206, KIND, multipart(ASKED).subarray(0, -60), 50).done).toBe(false);
    expect(() => read(206, KIND, multipart(ASKED.slice(1)), 50)).toThrow("left out a range");
    expect(() => read(206, KIND, multipart([{ start: 0, stop: 5 }, ASKED[1]!]), 50)).toThrow("left out a range");
  });

  it("must be what they say", () => {
    expect(() => read(206, "application/octet-stream", multipart(ASKED), 50)).toThrow("did not answer");
    expect(() => read(206, KIND.replace("edge", "other"), multipart(ASKED), 50)).toThrow("makes no sense");
    expect(() => read(206, KIND, new Uint8Array(5000), 50)).toThrow("makes no sense");
  });
});
