import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { beforeAll, describe, expect, it } from "vitest";

import { crc32c } from "../src/pack/crc32c";
import { parseIndex, PackError } from "../src/pack/index";
import { decodeFrame, NotDecodableHere, unshuffle, type CodestreamDecoder } from "../src/pack/lanes";
import { coalesce, levelForScale, levelShape, levelWithin, partsOf, segmentOf, segmentsOf, volumeBytes, volumeRanges, volumeSegments, wholePart } from "../src/pack/layout";
import { openJphDecoder } from "../src/pack/openjph";
import { fromBytes, halfToNumber, itemSize } from "../src/pack/values";

const FIXTURES = new URL("./fixtures/", import.meta.url);
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FIXTURES)));
const cases = JSON.parse(readFileSync(new URL("cases.json", FIXTURES), "utf8")) as Record<
  string,
  { index: [number, number]; shapes: number[][] }
>;

const VERSION_1 = new URL("./fixtures-v1/", import.meta.url);
const old = JSON.parse(readFileSync(new URL("cases.json", VERSION_1), "utf8")) as typeof cases;

function open(name: string, folder = FIXTURES) {
  const pack = new Uint8Array(readFileSync(new URL(`${name}.pack`, folder)));
  const index = parseIndex(pack.subarray(...(folder === FIXTURES ? cases : old)[name]!.index));
  const bytes = (part: number, frame: number): Uint8Array => {
    const { start, stop } = segmentOf(index, part, frame);
    return pack.subarray(start, stop);
  };
  return { pack, index, bytes };
}

let decoder: CodestreamDecoder;
beforeAll(async () => {
  const create = createRequire(import.meta.url)("@cornerstonejs/codec-openjph") as (o?: object) => Promise<never>;
  decoder = openJphDecoder(await create());
});

describe("crc32c", () => {
  it("gives the published check values", () => {
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(0))).toBe(0);
  });
});

describe("index", () => {
  it("is parsed", () => {
    const { index } = open("int16");
    expect(index.series).toMatchObject({ frames: 4, rows: 65, columns: 83, dtype: "int16", modality: "CT" });
    expect(index.parts).toBe(index.decompositions + 1);
    expect(index.body.start).toBe(16);
    expect(Array.from(index.lanes)).toEqual([1, 1, 1, 1]);
    const [low, high] = index.params(0);
    expect(low).toBeLessThan(high);
  });

  it("every part has the checksum that the index says", () => {
    for (const name of Object.keys(cases)) {
      const { index, bytes } = open(name);
      for (let part = 0; part < index.parts; part++) {
        for (let frame = 0; frame < index.frames; frame++) {
          expect(crc32c(bytes(part, frame))).toBe(index.checksums[part * index.frames + frame]);
        }
      }
    }
  });

  it("refuses damage", () => {
    const [start, stop] = cases["int16"]!.index;
    const stored = read("int16.pack").slice(start, stop);
    expect(() => parseIndex(stored.subarray(0, 40))).toThrow(PackError);
    expect(() => parseIndex(new Uint8Array(100))).toThrow(PackError);
    let refused = 0;
    for (let at = 0; at < stored.length; at += 7) {
      const bad = stored.slice();
      bad[at]! ^= 0x10;
      try {
        parseIndex(bad);
      } catch {
        refused++;
      }
    }
    // The zstd frame header has bits without meaning for the content; all others must be noticed.
    expect(refused).toBeGreaterThanOrEqual(Math.ceil(stored.length / 7) - 1);
  });
});

describe("lanes decode every level to the values of the Python decoder", () => {
  for (const [name, { shapes }] of Object.entries(cases)) {
    it(name, () => {
      const { index, bytes } = open(name);
      const { dtype, rows, columns, samples = 1 } = index.series;
      const expected = read(`${name}.bin`);
      let at = 0;
      shapes.forEach((shape, level) => {
        const [levelRows, levelColumns] = levelShape(rows, columns, level);
        expect(shape.slice(1, 3)).toEqual([levelRows, levelColumns]);
        const size = levelRows * levelColumns * samples * itemSize(dtype);
        for (let frame = 0; frame < index.frames; frame++, at += size) {
          const job = {
            lane: index.lanes[frame]!,
            parts: partsOf(index, frame, level).map((part) => wholePart(index, part, frame, bytes(part, frame))),
            decompositions: index.decompositions,
            level, rows, columns, samples, dtype,
            params: index.params(frame),
          };
          if (name === "uint16-wide") {
            expect(() => decodeFrame(job, decoder)).toThrow(NotDecodableHere);
            continue;
          }
          const values = decodeFrame(job, decoder);
          expect(values).toEqual(fromBytes(expected.subarray(at, at + size), dtype));
        }
      });
      expect(at).toBe(expected.length);
    });
  }
});

describe("headers of codestreams", () => {
  it("lie in the index where a series has several frames", () => {
    const { index, bytes } = open("int16");
    const heads = Array.from({ length: index.frames }, (_, frame) => index.head(frame));
    expect(new Set(heads.map((head) => head.join())).size).toBe(index.frames);
    for (const [frame, head] of heads.entries()) {
      expect(Array.from(head.subarray(0, 4))).toEqual([0xff, 0x4f, 0xff, 0x51]); // SOC, SIZ
      expect(Array.from(bytes(0, frame).subarray(0, 2))).toEqual([0xff, 0x90]); // SOT
    }
    expect(open("uint8-labels").index.head(0)).toHaveLength(0);
    expect(open("float64").index.head(0)).toHaveLength(0); // a single frame
    expect(open("int16", VERSION_1).index.head(0)).toHaveLength(0);
  });
});

describe("layout", () => {
  it("a level of all frames is one range from the start of the body", () => {
    const { index } = open("int16");
    expect(volumeRanges(index, 0)).toEqual([index.body]);
    for (let level = 1; level <= index.decompositions; level++) {
      const parts = index.decompositions - level + 1;
      const sum = index.lengths.subarray(0, parts * index.frames).reduce((a, b) => a + b, 0);
      expect(volumeRanges(index, level)).toEqual([{ start: 16, stop: 16 + sum }]);
      expect(volumeBytes(index, level)).toBe(sum);
    }
  });

  it("a level of several blocks is one range a block; the full level is one in all", () => {
    const { index } = open("int16-blocks");
    expect([index.frames, index.blockFrames]).toEqual([5, 2]);
    expect(volumeRanges(index, 0)).toEqual([index.body]);
    const ranges = volumeRanges(index, 1);
    expect(ranges.map(({ start }) => start)).toEqual([0, 2, 4].map((frame) => segmentOf(index, 0, frame).start));
    expect(ranges.reduce((sum, { start, stop }) => sum + stop - start, 0)).toBe(volumeBytes(index, 1));
    const all = volumeSegments(index, 0);
    expect(all).toHaveLength(5 * index.parts);
    all.forEach(({ start }, i) => expect(start).toBe(i === 0 ? index.body.start : all[i - 1]!.stop));
  });

  it("finds the sharpest level within a budget", () => {
    const { index } = open("int16");
    expect(levelWithin(index, Infinity)).toBe(0);
    const bytes = volumeBytes(index, 1);
    expect(levelWithin(index, bytes)).toBe(1);
    expect(levelWithin(index, bytes - 1)).toBe(index.decompositions >= 2 ? 2 : null);
    expect(levelWithin(index, 1)).toBeNull();
  });

  it("floats need only their last part at full resolution", () => {
    const { index } = open("float32");
    expect(partsOf(index, 0, 0)).toEqual([index.decompositions]);
    expect(partsOf(index, 0, index.decompositions)).toEqual([0]);
    expect(() => partsOf(index, 0, index.decompositions + 1)).toThrow(RangeError);
  });

  it("joins neighbours and respects the limit", () => {
    const { index } = open("int16");
    const row = segmentsOf(index, [1], 0, 3);
    expect(coalesce(row)).toHaveLength(1);
    expect(coalesce([row[0]!, row[2]!, row[3]!]).map((batch) => batch.segments.length)).toEqual([1, 2]);
    expect(coalesce(row, 1)).toHaveLength(4);
    expect(coalesce([])).toEqual([]);
    // Single frame: parts follow one another, so that all levels are one range.
    const tiny = open("float64").index;
    expect(coalesce(segmentsOf(tiny, [0, 1, 2].slice(0, tiny.parts), 0, 0))).toHaveLength(1);
  });

  it("chooses the level that the screen needs", () => {
    expect([2, 1, 0.51, 0.5, 0.26, 0.25, 0.01, 0].map((scale) => levelForScale(scale, 5))).toEqual([0, 0, 0, 1, 1, 2, 5, 5]);
  });

  it("rounds levels up", () => {
    expect(levelShape(65, 83, 1)).toEqual([33, 42]);
    expect(levelShape(65, 83, 3)).toEqual([9, 11]);
  });
});

describe("values", () => {
  it("reads half precision", () => {
    expect([0x3c00, 0xc000, 0x0001, 0x7c00, 0x3555].map(halfToNumber)).toEqual([1, -2, 2 ** -24, Infinity, 0.333251953125]);
  });
  it("unshuffles", () => {
    expect(Array.from(unshuffle(Uint8Array.of(1, 2, 3, 4, 5, 6), 2))).toEqual([1, 4, 2, 5, 3, 6]);
  });
  it("gives the magnitude of complex numbers", () => {
    expect(Array.from(fromBytes(new Uint8Array(new Float32Array([3, 4]).buffer), "complex64"))).toEqual([5]);
  });
});

describe("packs of version 1 are read", () => {
  for (const [name, { shapes }] of Object.entries(old)) {
    it(name, () => {
      const { index, bytes } = open(name, VERSION_1);
      expect(index.blockFrames).toBe(index.frames);
      const { dtype, rows, columns, samples = 1 } = index.series;
      const expected = new Uint8Array(readFileSync(new URL(`${name}.bin`, VERSION_1)));
      let at = 0;
      shapes.forEach((_, level) => {
        const [levelRows, levelColumns] = levelShape(rows, columns, level);
        const size = levelRows * levelColumns * samples * itemSize(dtype);
        for (let frame = 0; frame < index.frames; frame++, at += size) {
          const values = decodeFrame({
            lane: index.lanes[frame]!,
            parts: partsOf(index, frame, level).map((part) => wholePart(index, part, frame, bytes(part, frame))),
            decompositions: index.decompositions,
            level, rows, columns, samples, dtype,
            params: index.params(frame),
          }, decoder);
          expect(values).toEqual(fromBytes(expected.subarray(at, at + size), dtype));
        }
      });
      expect(at).toBe(expected.length);
    });
  }
});
