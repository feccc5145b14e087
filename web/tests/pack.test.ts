import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { beforeAll, describe, expect, it } from "vitest";

import { crc32c } from "../src/pack/crc32c";
import { LANE, parseIndex, PackError } from "../src/pack/index";
import { decodeExact, decodeFrame, NotDecodableHere, type CodestreamDecoder, type DecodeJob } from "../src/pack/lanes";
import { coalesce, levelForScale, levelShape, levelWithin, partsOf, segmentOf, segmentsOf, volumeBytes, volumeRanges, volumeSegments, wholePart } from "../src/pack/layout";
import { openJphDecoder } from "../src/pack/openjph";
import { unshuffle } from "../src/pack/shuffled";
import { fromBytes, halfToNumber, itemSize, numberToHalf } from "../src/pack/values";

const FIXTURES = new URL("./fixtures/", import.meta.url);
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FIXTURES)));
const cases = JSON.parse(readFileSync(new URL("cases.json", FIXTURES), "utf8")) as Record<
  string,
  { index: [number, number]; lanes: number[]; shapes: number[][]; sha256: string }
>;

const VERSION_1 = new URL("./fixtures-v1/", import.meta.url);
const LABELS_0 = new URL("./fixtures-labels-0/", import.meta.url);
const casesOf = (folder: URL) => JSON.parse(readFileSync(new URL("cases.json", folder), "utf8")) as typeof cases;

function open(name: string, folder = FIXTURES) {
  const pack = new Uint8Array(readFileSync(new URL(`${name}.pack`, folder)));
  const index = parseIndex(pack.subarray(...casesOf(folder)[name]!.index));
  const bytes = (part: number, frame: number): Uint8Array => {
    const { start, stop } = segmentOf(index, part, frame);
    return pack.subarray(start, stop);
  };
  return { pack, index, bytes };
}

let decoder: CodestreamDecoder;
beforeAll(async () => {
  const create = createRequire(import.meta.url)("@cornerstonejs/codec-openjph") as (o?: object) => Promise<never>;
  // Damage is meant here: it need not say so.
  const quiet = (): void => undefined;
  decoder = openJphDecoder(await create({ print: quiet, printErr: quiet }));
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

/** Frames that only the server can decode: see what they hold in make_fixtures.py. */
const BEYOND = new Set(["uint16-wide", "uint32-far-below", "int64-far", "uint8-tiles", "uint8-archive"]);

function jobOf({ index, bytes }: ReturnType<typeof open>, frame: number, level: number): DecodeJob {
  const { dtype, rows, columns, samples = 1 } = index.series;
  return {
    lane: index.lanes[frame]!,
    parts: partsOf(index, frame, level).map((part) => wholePart(index, part, frame, bytes(part, frame))),
    decompositions: index.decompositions,
    level, rows, columns, samples, dtype,
    params: index.params(frame),
  };
}

describe("lanes decode every level to the values of the Python decoder, bit for bit", () => {
  it("every lane has a case", () => {
    expect(new Set(Object.values(cases).flatMap(({ lanes }) => lanes))).toEqual(new Set(Object.values(LANE)));
  });

  for (const [name, { shapes, lanes, sha256 }] of Object.entries(cases)) {
    it(`${name}, lane ${[...new Set(lanes)].join(", ")}`, () => {
      const opened = open(name);
      const { dtype, rows, columns } = opened.index.series;
      expect(Array.from(opened.index.lanes)).toEqual(lanes);
      const digest = createHash("sha256");
      shapes.forEach((shape, level) => {
        expect(shape.slice(1, 3)).toEqual(levelShape(rows, columns, level));
        const length = shape.slice(1).reduce((a, b) => a * b) * itemSize(dtype);
        for (let frame = 0; frame < opened.index.frames; frame++) {
          const job = jobOf(opened, frame, level);
          if (BEYOND.has(name)) {
            expect(() => decodeExact(job, decoder)).toThrow(NotDecodableHere);
            continue;
          }
          const values = decodeExact(job, decoder);
          const bits = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
          expect(bits.length).toBe(length);
          digest.update(bits);
          expect(decodeFrame(job, decoder)).toEqual(fromBytes(bits, dtype));
        }
      });
      if (!BEYOND.has(name)) expect(digest.digest("hex")).toBe(sha256);
    });
  }
});

describe("labels", () => {
  it("decode a 512 x 512 map of 40 organs in well under 50 ms", () => {
    const job = jobOf(open("organs-512"), 0, 0);
    const times = Array.from({ length: 9 }, () => {
      const start = performance.now();
      decodeFrame(job, decoder);
      return performance.now() - start;
    });
    expect(Math.min(...times)).toBeLessThan(50);
  });
});

describe("damaged parts", () => {
  /** Values of the right number, or PackError. */
  const attempt = (job: DecodeJob): "values" | "refused" => {
    try {
      const [rows, columns] = levelShape(job.rows, job.columns, job.level);
      expect(decodeFrame(job, decoder).length).toBe(rows * columns * job.samples);
      return "values";
    } catch (error) {
      if (!(error instanceof PackError)) throw error;
      return "refused";
    }
  };

  for (const name of Object.keys(cases)) {
    it(`${name}: nothing but values or PackError, and soon`, () => {
      const opened = open(name);
      const random = generator(name.length);
      const start = performance.now();
      let tried = 0;
      for (const level of [0, opened.index.decompositions]) {
        for (let round = 0; round < 60 && performance.now() - start < 2000; round++, tried++) {
          const job = jobOf(opened, 0, level);
          const p = random(job.parts.length);
          const part = job.parts[p]!.slice();
          if (round % 4 === 0) job.parts[p] = part.slice(0, random(part.length + 1));
          else {
            for (let i = 0; i < round % 4 && part.length; i++) part[random(part.length)] = random(256);
            job.parts[p] = part;
          }
          attempt(job);
        }
      }
      expect(tried).toBeGreaterThan(20);
    });
  }

  it("random bytes instead of labels", () => {
    const opened = open("labels-uint8");
    const random = generator(5);
    const outcomes = new Set<string>();
    for (let round = 0; round < 100; round++) {
      const job = jobOf(opened, 0, 0);
      const table = round % 2 ? 3 : 0;
      job.parts = job.parts.map((part, p) =>
        Uint8Array.from(part, (byte, i) => (round % 3 === 0 ? 0xff : p === 0 && i < table ? byte : random(256))));
      outcomes.add(attempt(job));
    }
    expect(outcomes).toContain("refused");
  });

  it("a missing or a foreign part is refused", () => {
    for (const name of ["int16", "affine-float32", "ranked-float32", "complex64-float", "labels-uint8", "int64-wide"]) {
      const opened = open(name);
      const job = jobOf(opened, 0, 0);
      expect(() => decodeFrame({ ...job, parts: job.parts.slice(0, -1) }, decoder), name).toThrow(PackError);
      expect(() => decodeFrame({ ...job, parts: job.parts.map(() => new Uint8Array(0)) }, decoder), name).toThrow(PackError);
      // Any bytes are labels of any shape: that those of another frame are not its own its digest tells.
      if (name === "labels-uint8") continue;
      expect(() => decodeFrame({ ...job, rows: job.rows * 3 }, decoder), name).toThrow(PackError);
    }
  });

  it("tables that lie are refused", () => {
    const ranked = jobOf(open("ranked-float32"), 0, 0);
    const labelled = jobOf(open("labels-int16"), 0, 0);
    const before = jobOf(open("labels-int16", LABELS_0), 0, 0);
    const complex = jobOf(open("complex64-affine"), 0, 0);
    const tampered = (job: DecodeJob, change: (head: DataView) => void, params = job.params): DecodeJob => {
      const head = job.parts[0]!.slice();
      change(new DataView(head.buffer));
      return { ...job, params, parts: [head, ...job.parts.slice(1)] };
    };
    expect(attempt(tampered(ranked, () => undefined))).toBe("values");
    const lies: [DecodeJob, RegExp][] = [
      [tampered(ranked, (head) => head.setUint32(0, 5000, true)), /table of 5000/],
      [tampered(ranked, (head) => head.setUint32(0, 0, true)), /table of 0/],
      [tampered(ranked, (head) => head.setUint32(0, head.getUint32(0, true) - 1, true)), /ranks|zstd frame/],
      [tampered(ranked, (head) => head.setUint32(4, 0xffffffff, true)), /part 0 ends/],
      [tampered(ranked, () => undefined, [-1, 5]), /ranks from -1/],
      [tampered(ranked, () => undefined, [0, 4095]), /ranks from 0 to 4095/],
      [tampered(labelled, () => undefined, [2, 0]), /labels of kind 2/],
      [tampered(labelled, () => undefined, [1 + 2 * 256, 0]), /labels of kind 513/],
      [tampered(labelled, (head) => head.setUint32(0, 0xffffffff)), /label of more than 2 bytes/],
      [tampered(before, (head) => head.setUint16(0, 0, true)), /table of 0/],
      [tampered(before, (head) => head.setUint16(0, 257, true)), /table of 257/],
      [tampered(complex, (head) => head.setUint8(0, LANE.complex)), /complex numbers within/],
      [tampered(complex, (head) => head.setUint8(17, 99)), /lane 99/],
      [tampered(complex, (head) => head.setUint32(34, 0xffffffff, true)), /part 0 ends/],
      [{ ...complex, dtype: "float32" }, /complex numbers of type float32/],
      [{ ...labelled, samples: 5 }, /labels of 10 bytes/],
      [{ ...before, samples: 3 }, /3 samples/],
    ];
    for (const [job, message] of lies) {
      expect(() => decodeFrame(job, decoder)).toThrow(PackError);
      expect(() => decodeFrame(job, decoder)).toThrow(message);
    }
  });
});

/** Whole numbers below a limit, always the same ones (mulberry32). */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

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
  it("rounds to half precision", () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = halfToNumber(bits);
      if (!Number.isNaN(value)) expect(numberToHalf(value), String(bits)).toBe(bits);
    }
    // Ties go to the even one, what is nearer decides otherwise, also at the ends of the range.
    const cases = [[2049, 0x6800], [2051, 0x6802], [2049.0001, 0x6801], [65519.9, 0x7bff], [65520, 0x7c00], [2 ** -25, 0], [2 ** -24.9, 1]];
    for (const [value, bits] of cases) expect(numberToHalf(value!), String(value)).toBe(bits);
    expect(numberToHalf(NaN)).toBe(0x7e00);
  });
  it("unshuffles", () => {
    expect(Array.from(unshuffle(Uint8Array.of(1, 2, 3, 4, 5, 6), 2))).toEqual([1, 4, 2, 5, 3, 6]);
  });
  it("gives the magnitude of complex numbers", () => {
    expect(Array.from(fromBytes(new Uint8Array(new Float32Array([3, 4]).buffer), "complex64"))).toEqual([5]);
  });
});

describe.each([["version 1", VERSION_1], ["labels of version 0", LABELS_0]])("packs with %s are read", (_, folder) => {
  for (const [name, { shapes }] of Object.entries(casesOf(folder))) {
    it(name, () => {
      const { index, bytes } = open(name, folder);
      expect(index.blockFrames).toBe(index.frames);
      const { dtype, rows, columns, samples = 1 } = index.series;
      const expected = new Uint8Array(readFileSync(new URL(`${name}.bin`, folder)));
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
