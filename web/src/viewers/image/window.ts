/** Windowing of grey values (DICOM PS3.3 C.11.2). */

import type { Values } from "../../pack/values";

/** In rescaled values: HU for CT. */
export interface Window {
  center: number;
  width: number;
}

export interface Rescale {
  slope: number;
  intercept: number;
}

/** Values at `low` and below are black, at `high` and above white. */
export interface Ramp {
  low: number;
  high: number;
}

/**
 * The ends of the ramp, in rescaled values. `exact` chooses LINEAR_EXACT (C.11.2.1.3.2), right for real numbers;
 * otherwise LINEAR (C.11.2.1.2.1), the default of DICOM, which is meant for whole numbers.
 */
export function rampOf(window: Window, exact: boolean): Ramp {
  const { center, width } = window;
  if (exact || width < 2) return { low: center - width / 2, high: center + width / 2 };
  return { low: center - 0.5 - (width - 1) / 2, high: center - 0.5 + (width - 1) / 2 };
}

/** Grey in 0..1 = (stored - offset) * gain, before clamping; the form the shader uses. */
export function storedRamp(ramp: Ramp, rescale: Rescale): { offset: number; gain: number } {
  const slope = rescale.slope || 1;
  return { offset: (ramp.low - rescale.intercept) / slope, gain: slope / (ramp.high - ramp.low || 1e-12) };
}

/** Grey level 0..255 of a stored value. */
export function greyOf(stored: number, ramp: Ramp, rescale: Rescale): number {
  const { offset, gain } = storedRamp(ramp, rescale);
  const grey = (stored - offset) * gain;
  return Number.isNaN(grey) ? 0 : Math.round(Math.min(Math.max(grey, 0), 1) * 255);
}

/** A window around the bulk of the values, in rescaled values. Not finite values do not count. */
export function percentileWindow(values: Values, rescale: Rescale, low = 0.01, high = 0.99): Window {
  const step = Math.max(1, Math.floor(values.length / 65536));
  const sample: number[] = [];
  for (let i = 0; i < values.length; i += step) {
    const value = values[i]!;
    if (Number.isFinite(value)) sample.push(value * rescale.slope + rescale.intercept);
  }
  if (sample.length === 0) return { center: 0.5, width: 1 };
  sample.sort((a, b) => a - b);
  const at = (fraction: number): number => sample[Math.round(fraction * (sample.length - 1))]!;
  let [from, to] = [at(low), at(high)];
  if (to <= from) [from, to] = [sample[0]!, sample.at(-1)!];
  if (to <= from) to = from + 1;
  return { center: (from + to) / 2, width: to - from };
}

export interface Preset extends Window {
  key: string;
  name: "lung" | "mediastinum" | "bone" | "brain" | "abdomen";
}

/** Usual windows for CT, in HU. */
export const CT_PRESETS: readonly Preset[] = [
  { key: "1", name: "lung", center: -600, width: 1500 },
  { key: "2", name: "mediastinum", center: 40, width: 400 },
  { key: "3", name: "bone", center: 400, width: 1800 },
  { key: "4", name: "brain", center: 40, width: 80 },
  { key: "5", name: "abdomen", center: 60, width: 360 },
];
