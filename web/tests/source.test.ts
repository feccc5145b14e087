import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { afterEach, describe, expect, it, vi } from "vitest";

import type { SeriesDetail } from "../src/api/client";
import { parseIndex } from "../src/pack/index";
import { decodeFrame, type DecodeJob } from "../src/pack/lanes";
import { levelShape, segmentOf, volumeBytes, volumeRanges } from "../src/pack/layout";
import { openJphDecoder } from "../src/pack/openjph";
import { fromBytes, itemSize } from "../src/pack/values";
import { toRgba } from "../src/viewers/image/colour";
import type { Picture } from "../src/viewers/image/renderer";
import { SeriesSource } from "../src/viewers/image/source";

// Workers do not exist here: decode in place.
vi.mock("../src/viewers/image/decoders", () => {
  const create = createRequire(import.meta.url)("@cornerstonejs/codec-openjph") as () => Promise<never>;
  const ready = create().then(openJphDecoder);
  return {
    sharedDecoders: () => ({
      async decode(job: DecodeJob, photometric: string, bits: number) {
        const values = decodeFrame(job, await ready);
        return job.samples > 1
          ? { values: toRgba(values, job.samples, photometric, bits), rgba: true }
          : { values, rgba: false };
      },
    }),
  };
});

const read = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(`fixtures/${name}`, import.meta.url)));
const cases = JSON.parse(readFileSync(new URL("fixtures/cases.json", import.meta.url), "utf8")) as Record<
  string, { index: [number, number]; shapes: number[][] }
>;

interface Asked {
  range?: [number, number];
  ranges?: [number, number][];
  pixels?: { level: number; start: number };
  cache: string | undefined;
  aborted: boolean;
}

function multipart(pack: Uint8Array, ranges: [number, number][]): Uint8Array {
  const text = (words: string): Uint8Array => new TextEncoder().encode(words);
  const pieces = ranges.flatMap(([start, stop]) => [
    text(`\r\n--edge\r\nContent-Type: a/b\r\nContent-Range: bytes ${start}-${stop - 1}/${pack.length}\r\n\r\n`),
    pack.subarray(start, stop),
  ]);
  return Uint8Array.from([...pieces, text("\r\n--edge--\r\n")].flatMap((piece) => [...piece]));
}

/** A server over one fixture; `tamper` may change or hold answers. */
function serve(name: string, tamper: (body: Uint8Array, asked: Asked) => Uint8Array | Promise<Uint8Array> = (body) => body) {
  const pack = read(`${name}.pack`);
  const stored = pack.subarray(...cases[name]!.index);
  const index = parseIndex(stored);
  const { dtype, rows, columns, samples = 1 } = index.series;
  const asked: Asked[] = [];
  const levelValues = (level: number, frame: number): Uint8Array => {
    let at = 0;
    const size = (k: number): number => {
      const [r, c] = levelShape(rows, columns, k);
      return r * c * samples * itemSize(dtype);
    };
    for (let k = 0; k < level; k++) at += size(k) * index.frames;
    at += frame * size(level);
    return read(`${name}.bin`).subarray(at, at + size(level));
  };
  vi.stubGlobal("fetch", async (address: string, init: RequestInit = {}) => {
    const one: Asked = { cache: init.cache, aborted: false };
    let body = stored;
    let status = 200;
    const header = (init.headers as Record<string, string> | undefined)?.["Range"] ?? "";
    const range = /^bytes=(\d+)-(\d+)$/.exec(header);
    const several = /^bytes=([\d,-]+)$/.exec(header);
    const headers: Record<string, string> = {};
    const pixels = /pixels\?level=(\d+)&start=(\d+)/.exec(address);
    if (range) {
      one.range = [Number(range[1]), Number(range[2]) + 1];
      body = pack.subarray(...one.range);
      status = 206;
    } else if (several) {
      one.ranges = several[1]!.split(",").map((item) => {
        const [first, last] = item.split("-").map(Number);
        return [first!, last! + 1];
      });
      body = multipart(pack, one.ranges);
      status = 206;
      headers["content-type"] = "multipart/byteranges; boundary=edge";
    } else if (pixels) {
      one.pixels = { level: Number(pixels[1]), start: Number(pixels[2]) };
      body = levelValues(one.pixels.level, one.pixels.start);
    }
    asked.push(one);
    const ended = new Promise<never>((_, reject) =>
      init.signal?.addEventListener("abort", () => {
        one.aborted = true;
        reject(new DOMException("aborted", "AbortError"));
      }),
    );
    const answer = await Promise.race([Promise.resolve(tamper(body.slice(), one)), ended]);
    return new Response(answer as Uint8Array<ArrayBuffer>, { status, headers });
  });
  const series = {
    uid: index.series.uid, photometric: index.series.photometric ?? "MONOCHROME2", samples, dtype,
    shape: [index.frames, rows, columns], bits_stored: null, stored_bytes: pack.length, levels: index.parts,
    pack: { key: "k", url: "/api/v1/packs/k", size: pack.length },
    level_details: Array.from({ length: index.parts }, (_, level) => {
      const ranges = volumeRanges(index, level).map(({ start, stop }) => [start, stop]);
      return { level, ranges, bytes: volumeBytes(index, level) };
    }),
  } as unknown as SeriesDetail;
  return { series, index, asked, levelValues };
}

function open(series: SeriesDetail, want = { frame: 0, neighbours: [] as number[], level: 0 }) {
  const pictures: Picture[] = [];
  const errors: Error[] = [];
  const source = new SeriesSource(series, {
    picture: (picture) => pictures.push(picture),
    progress: () => undefined,
    failed: (error) => errors.push(error),
  }, want);
  return { source, pictures, errors, idle: () => vi.waitFor(() => expect(source.loading).toBe(false), { timeout: 5000 }) };
}

afterEach(() => vi.unstubAllGlobals());

describe("source", () => {
  it("fetches a small volume whole, in one range, and shows exact values", async () => {
    const { series, index, asked, levelValues } = serve("int16");
    const { source, pictures, errors, idle } = open(series);
    await idle();
    expect(errors).toEqual([]);
    expect(asked.filter(({ range }) => range).map(({ range }) => range)).toEqual([[index.body.start, index.body.stop]]);
    expect(pictures.at(-1)).toMatchObject({ frame: 0, level: 0, rows: 65, columns: 83 });
    expect(source.picture(0)!.values).toEqual(fromBytes(levelValues(0, 0), "int16"));
    expect(source.bytesUsed).toBe(source.bytesTotal);
    source.request({ frame: 3, neighbours: [], level: 0 });
    await idle();
    expect(source.picture(3)!.values).toEqual(fromBytes(levelValues(0, 3), "int16"));
    expect(asked.length).toBe(2);
    source.dispose();
  });

  it("fetches a level of several blocks in one request of several ranges", async () => {
    const { series, index, asked, levelValues } = serve("int16-blocks");
    for (const detail of series.level_details) if (detail.level < index.decompositions) detail.bytes = 1e9;
    const { source, errors, idle } = open(series, { frame: 4, neighbours: [], level: 0 });
    await idle();
    expect(errors).toEqual([]);
    const first = asked.find(({ range, ranges }) => range || ranges)!;
    expect(first.ranges).toEqual(volumeRanges(index, index.decompositions).map(({ start, stop }) => [start, stop]));
    expect(first.ranges).toHaveLength(3);
    for (let frame = 0; frame < 5; frame++) {
      source.request({ frame, neighbours: [], level: 0 });
      await idle();
      expect(source.picture(frame)!.values).toEqual(fromBytes(levelValues(0, frame), "int16"));
    }
    // The low level came with the first request: only sharper parts were asked for after it.
    const low = first.ranges!;
    for (const { range } of asked) {
      if (range) expect(low.some(([start, stop]) => range[0] < stop && range[1] > start)).toBe(false);
    }
    source.dispose();
  });

  it("a single image begins at its smallest level and goes only as far as the screen needs", async () => {
    const { series, index, asked } = serve("float64");
    expect(index.frames).toBe(1);
    const { source, pictures, idle } = open(series, { frame: 0, neighbours: [], level: 1 });
    await idle();
    expect(pictures.map(({ level }) => level)).toEqual([1]);
    expect(source.bytesUsed).toBeLessThan(source.bytesTotal / 2);
    source.request({ frame: 0, neighbours: [], level: 0 });
    await idle();
    expect(pictures.at(-1)!.level).toBe(0);
    const last = segmentOf(index, index.decompositions, 0);
    expect(asked.at(-1)!.range).toEqual([last.start, last.stop]);
    source.dispose();
  });

  it("damaged bytes are asked for again, past the browser's cache", async () => {
    let first = true;
    const { series, asked, levelValues } = serve("int16", (body, { range }) => {
      if (range && first) {
        first = false;
        body[body.length - 20]! ^= 1;
      }
      return body;
    });
    const { source, errors, idle } = open(series, { frame: 3, neighbours: [], level: 0 });
    await idle();
    expect(errors).toEqual([]);
    expect(asked.at(-1)!.cache).toBe("reload");
    expect(source.picture(3)!.values).toEqual(fromBytes(levelValues(0, 3), "int16"));
    source.dispose();
  });

  it("bytes that stay damaged are an error, and the coarser picture stays", async () => {
    const { series, index } = serve("int16", (body, { range }) => {
      if (range) body[body.length - 20]! ^= 1;
      return body;
    });
    const { source, errors, idle } = open(series, { frame: 3, neighbours: [], level: 0 });
    await idle();
    expect(errors.map(({ message }) => message)).toEqual([`part ${index.decompositions} of frame 3 is damaged`]);
    expect(source.picture(3)!.level).toBe(1);
    source.dispose();
  });

  it("asks the server for values where the browser cannot decode", async () => {
    const { series, asked, levelValues } = serve("uint16-wide");
    const { source, errors, idle } = open(series);
    await idle();
    expect(errors).toEqual([]);
    expect(asked.filter(({ pixels }) => pixels).map(({ pixels }) => pixels!.level)).toEqual([cases["uint16-wide"]!.shapes.length - 1, 0]);
    expect(source.picture(0)!.values).toEqual(fromBytes(levelValues(0, 0), "uint16"));
    source.dispose();
  });

  it("shows complex numbers as their magnitude, and labels as they are, at every level", async () => {
    for (const name of ["complex64-affine", "labels-int16"]) {
      const { series, asked, index, levelValues } = serve(name);
      for (let level = index.decompositions; level >= 0; level--) {
        const { source, errors, idle } = open(series, { frame: 1, neighbours: [], level });
        await idle();
        expect(errors).toEqual([]);
        const picture = source.picture(1)!;
        expect(picture.level).toBe(level);
        expect(picture.values).toEqual(fromBytes(levelValues(level, 1), index.series.dtype));
        source.dispose();
      }
      expect(asked.some(({ pixels }) => pixels)).toBe(false);
    }
  });

  it("colours come as RGBA", async () => {
    const { series } = serve("uint8-rgb");
    const { source, idle } = open(series);
    await idle();
    const picture = source.picture(0)!;
    expect(picture.rgba).toBe(true);
    expect(picture.values.length).toBe(4 * picture.rows * picture.columns);
    source.dispose();
  });

  it("stops what nobody wants any more", async () => {
    // Only the smallest level fits the budget: pretend the others are large.
    const { series, asked, index } = serve("int16", (body, { range }) =>
      range && range[0] >= volumeRanges(index, index.decompositions)[0]!.stop && asked.length < 4 ? new Promise(() => undefined) : body,
    );
    for (const detail of series.level_details) if (detail.level < index.decompositions) detail.bytes = 1e9;
    const { source, idle } = open(series, { frame: 0, neighbours: [], level: 0 });
    await vi.waitFor(() => expect(asked.filter(({ range }) => range).length).toBeGreaterThan(1));
    source.request({ frame: 3, neighbours: [], level: 0 });
    await idle();
    const refinements = asked.filter(({ range }) => range).slice(1);
    expect(refinements.some(({ aborted }) => aborted)).toBe(true);
    expect(source.picture(3)?.level).toBe(0);
    source.dispose();
  });

  it("says so when the index is broken or the server refuses", async () => {
    const { series } = serve("int16", (body, { range }) => (range ? body : body.subarray(0, 30)));
    const { errors, idle } = open(series);
    await idle();
    expect(errors.length).toBe(1);
    vi.stubGlobal("fetch", async () => new Response('{"error":{"code":"gone","message":"no longer here"}}', { status: 410 }));
    const refused = open(series);
    await refused.idle();
    expect(refused.errors[0]!.message).toBe("no longer here");
  });
});
