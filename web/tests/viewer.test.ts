import { readFileSync } from "node:fs";

import { describe, expect, it } from "vitest";

import { bytes, date, number, percent } from "../src/format";
import { parseIndex, type PackIndex } from "../src/pack/index";
import { labelColours, paletteTable, toRgba } from "../src/viewers/image/colour";
import {
  AS_STORED, barLength, edgeLetters, invert, lettersOf, panBy, pixelScale, radiological, ravel, transform, unravel,
  viewMatrix, zoomAt, type Frame, type Matrix,
} from "../src/viewers/image/geometry";
import { planFetches } from "../src/viewers/image/plan";
import { colourPicture } from "../src/viewers/image/renderer";
import { greyOf, percentileWindow, rampOf, storedRamp } from "../src/viewers/image/window";

const IDENTITY = { slope: 1, intercept: 0 };

describe("window", () => {
  it("follows the example of PS3.3 C.11.2.1.2.1: center 2048, width 4096 maps 0 to black and 4095 to white", () => {
    const ramp = rampOf({ center: 2048, width: 4096 }, false);
    expect(greyOf(0, ramp, IDENTITY)).toBe(0);
    expect(greyOf(4095, ramp, IDENTITY)).toBe(255);
    expect(greyOf(2047.5, ramp, IDENTITY)).toBe(128);
    expect([-5, 5000].map((value) => greyOf(value, ramp, IDENTITY))).toEqual([0, 255]);
  });
  it("center 0, width 100: -50 is black, 49 is white", () => {
    const ramp = rampOf({ center: 0, width: 100 }, false);
    expect([ramp.low, ramp.high]).toEqual([-50, 49]);
  });
  it("LINEAR_EXACT for real numbers", () => {
    expect(rampOf({ center: 0.5, width: 1 }, true)).toEqual({ low: 0, high: 1 });
  });
  it("works on stored values", () => {
    const rescale = { slope: 2, intercept: -1000 };
    const ramp = rampOf({ center: 40, width: 400 }, true);
    const { offset, gain } = storedRamp(ramp, rescale);
    expect((420 - offset) * gain).toBeCloseTo((420 * 2 - 1000 - ramp.low) / 400, 12);
  });
  it("a NaN is black", () => {
    expect(greyOf(NaN, { low: 0, high: 1 }, IDENTITY)).toBe(0);
  });
  it("finds the bulk of the values", () => {
    const values = Int16Array.from({ length: 1001 }, (_, i) => i);
    expect(percentileWindow(values, IDENTITY)).toEqual({ center: 500, width: 980 });
    expect(percentileWindow(values, { slope: 2, intercept: 1 })).toEqual({ center: 1001, width: 1960 });
    expect(percentileWindow(new Uint8Array(10), IDENTITY).width).toBeGreaterThan(0);
    expect(percentileWindow(Float32Array.of(NaN, 1, 3), IDENTITY)).toEqual({ center: 2, width: 2 });
    expect(percentileWindow(Float32Array.of(NaN), IDENTITY)).toEqual({ center: 0.5, width: 1 });
  });
});

describe("colour", () => {
  it("RGB is taken as it is", () => {
    expect(Array.from(toRgba(Uint8Array.of(1, 2, 3, 4, 5, 6), 3, "RGB", 8))).toEqual([1, 2, 3, 255, 4, 5, 6, 255]);
  });
  it("YBR_FULL: grey, red and blue", () => {
    const pixels = Uint8Array.of(100, 128, 128, 76, 85, 255, 29, 255, 107);
    const rgba = toRgba(pixels, 3, "YBR_FULL_422", 8);
    const expected = [[100, 100, 100], [254, 0, 0], [0, 0, 254]];
    expected.forEach((rgb, i) => rgb.forEach((value, c) => {
      expect(Math.abs(rgba[4 * i + c]! - value)).toBeLessThanOrEqual(1);
    }));
  });
  it("YBR_PARTIAL_420 spans 16 to 235", () => {
    expect(Array.from(toRgba(Uint8Array.of(235, 128, 128, 16, 128, 128), 3, "YBR_PARTIAL_420", 8))).toEqual([
      255, 255, 255, 255, 0, 0, 0, 255,
    ]);
  });
  it("scales more bits, keeps alpha", () => {
    expect(Array.from(toRgba(Uint16Array.of(4095, 0, 4095, 2048), 4, "RGB", 12))).toEqual([255, 0, 255, 128]);
    expect(Array.from(toRgba(Uint8Array.of(9, 77), 2, "MONOCHROME2", 8))).toEqual([9, 9, 9, 77]);
  });
  it("tables", () => {
    expect(Array.from(paletteTable([[1, 2, 3], [4, 5, 6]]))).toEqual([1, 2, 3, 255, 4, 5, 6, 255]);
    const table = labelColours();
    expect(Array.from(table.subarray(0, 4))).toEqual([0, 0, 0, 255]);
    const colours = new Set(Array.from({ length: 32 }, (_, i) => table.subarray(4 * i, 4 * i + 3).join()));
    expect(colours.size).toBe(32);
  });
  it("the picture without WebGL", () => {
    const picture = { frame: 0, level: 0, rows: 1, columns: 3, values: Int16Array.of(-5, 50, 200), rgba: false };
    const state = {
      picture, rows: 1, columns: 3, matrix: [1, 0, 0, 1, 0, 0] as Matrix, offset: 0, gain: 0.01, invert: false,
      smooth: false, table: null, wrap: false,
    };
    expect(Array.from(colourPicture(state)).filter((_, i) => i % 4 === 0)).toEqual([0, 128, 255]);
    expect(Array.from(colourPicture({ ...state, invert: true })).filter((_, i) => i % 4 === 0)).toEqual([255, 128, 0]);
  });
});

const AXIAL_LPS = [[-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]];
const RAS = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]];
const RADIOLOGICAL = { left: "R", right: "L", top: "A", bottom: "P" };

describe("orientation", () => {
  it("letters of an axial DICOM slice", () => {
    expect(edgeLetters(AXIAL_LPS, AS_STORED)).toEqual(RADIOLOGICAL);
    expect(radiological(AXIAL_LPS)).toEqual(AS_STORED);
  });
  it("NIfTI in RAS is turned to face the reader", () => {
    expect(radiological(RAS)).toEqual({ transpose: false, flipX: true, flipY: true });
    expect(edgeLetters(RAS, radiological(RAS))).toEqual(RADIOLOGICAL);
  });
  it("coronal, sagittal and transposed slices", () => {
    const columns = (c: number[], r: number[], s: number[]): number[][] => [0, 1, 2].map((i) => [c[i]!, r[i]!, s[i]!, 0]);
    const [x, y, z] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    const coronal = columns(x!, z!, y!);
    expect(edgeLetters(coronal, radiological(coronal))).toEqual({ left: "R", right: "L", top: "S", bottom: "I" });
    const sagittal = columns(y!, z!, x!);
    expect(edgeLetters(sagittal, radiological(sagittal))).toEqual({ left: "A", right: "P", top: "S", bottom: "I" });
    const turned = columns(y!, x!, z!);
    expect(radiological(turned).transpose).toBe(true);
    expect(edgeLetters(turned, radiological(turned))).toEqual(RADIOLOGICAL);
  });
  it("oblique directions have more letters", () => {
    expect(lettersOf([0.8, -0.6, 0])).toBe("RP");
    expect(lettersOf([0.1, 0.99, 0])).toBe("A");
  });
});

describe("view", () => {
  const frame: Frame = { rows: 100, columns: 200, rowSpacing: 2, columnSpacing: 1, orientation: AS_STORED };
  const screen = { width: 400, height: 400 };
  const fitted = { centerX: 100, centerY: 50, zoom: 1 };

  it("fits with the physical aspect", () => {
    const matrix = viewMatrix(fitted, frame, screen);
    expect(matrix).toEqual([2, 0, 0, 4, 0, 0]);
    expect(pixelScale(matrix)).toBe(4);
    expect(transform(matrix, 200, 100)).toEqual([400, 400]);
  });
  it("flips and swaps", () => {
    const turned = { ...frame, orientation: { transpose: true, flipX: true, flipY: false } };
    const matrix = viewMatrix(fitted, turned, screen);
    expect(transform(matrix, 0, 0)).toEqual([400, 0]);
    expect(transform(matrix, 200, 100)).toEqual([0, 400]);
    const back = transform(invert(matrix), ...transform(matrix, 30, 40));
    expect(back[0]).toBeCloseTo(30);
    expect(back[1]).toBeCloseTo(40);
  });
  it("zooms about a point", () => {
    const before = transform(invert(viewMatrix(fitted, frame, screen)), 300, 100);
    const zoomed = zoomAt(fitted, frame, screen, 3, 300, 100);
    const after = transform(invert(viewMatrix(zoomed, frame, screen)), 300, 100);
    expect(after[0]).toBeCloseTo(before[0]);
    expect(after[1]).toBeCloseTo(before[1]);
    expect(zoomAt(fitted, frame, screen, 1e9, 0, 0).zoom).toBe(64);
  });
  it("pans, and not off the screen", () => {
    expect(panBy(fitted, frame, screen, 20, 40)).toEqual({ zoom: 1, centerX: 90, centerY: 40 });
    expect(panBy(fitted, frame, screen, 1e6, 0).centerX).toBe(0);
  });
  it("frames and positions", () => {
    expect(unravel(37, [10, 15])).toEqual([2, 7]);
    expect(ravel([2, 7], [10, 15])).toBe(37);
  });
  it("scale bars have round lengths", () => {
    expect(barLength(2, 1000)).toBe(100);
    expect(barLength(2, 900)).toBe(50);
    expect(barLength(200, 1000)).toBe(1);
  });
});

describe("plan", () => {
  const cases = JSON.parse(readFileSync(new URL("fixtures/cases.json", import.meta.url), "utf8")) as Record<
    string, { index: [number, number] }
  >;
  const load = (name: string): PackIndex => {
    const pack = new Uint8Array(readFileSync(new URL(`fixtures/${name}.pack`, import.meta.url)));
    return parseIndex(pack.subarray(...cases[name]!.index));
  };
  const names = (batches: ReturnType<typeof planFetches>): string[][] =>
    batches.map(({ segments }) => segments.map(({ part, frame }) => `${part}/${frame}`));

  it("asks for one frame level by level", () => {
    const index = load("int16");
    const all = names(planFetches(index, { frame: 1, neighbours: [], level: 0 }, (part) => part === 0));
    expect(all).toEqual(Array.from({ length: index.decompositions }, (_, i) => [`${i + 1}/1`]));
    expect(planFetches(index, { frame: 1, neighbours: [], level: index.decompositions }, (part) => part === 0)).toEqual([]);
  });
  it("takes cheap neighbours along in the same range, then the others", () => {
    const index = load("int16");
    const [first, ...rest] = names(planFetches(index, { frame: 1, neighbours: [2, 3, 0], level: 1 }, (part) => part === 0));
    expect(first).toEqual(["1/0", "1/1", "1/2", "1/3"]);
    expect(rest.flat()).not.toContain("1/2");
  });
  it("never asks for what is there or twice", () => {
    const index = load("int16");
    const batches = planFetches(index, { frame: 0, neighbours: [1, 2, 3], level: 0 }, (part, frame) => part === 0 || frame === 2);
    const flat = names(batches).flat();
    expect(new Set(flat).size).toBe(flat.length);
    expect(flat.some((name) => name.endsWith("/2"))).toBe(false);
    for (const { start, stop, segments } of batches) {
      expect(segments[0]!.start).toBe(start);
      expect(segments.at(-1)!.stop).toBe(stop);
    }
  });
  it("floats at full resolution need one part", () => {
    const index = load("float32");
    expect(names(planFetches(index, { frame: 0, neighbours: [], level: 0 }, () => false))).toEqual([[`${index.decompositions}/0`]]);
  });
});

describe("format", () => {
  it("bytes", () => {
    expect([0, 999, 1024, 421_888, 28_731_000, 5e12].map(bytes)).toEqual(["0 B", "999 B", "1.0 KiB", "412 KiB", "27.4 MiB", "4.5 TiB"]);
    expect(bytes(1024 ** 2 - 1)).toBe("1.0 MiB");
  });
  it("percent, numbers and dates", () => {
    expect([0.0153, 0.5, 1, NaN].map(percent)).toEqual(["1.5 %", "50 %", "100 %", "–"]);
    expect([0.703125, -1000, 1e-5, NaN].map((value) => number(value))).toEqual(["0.7031", "−1000", "0.00001", "NaN"]);
    expect([date("20040530"), date(null), date("2004")]).toEqual(["2004-05-30", "", "2004"]);
  });
});
