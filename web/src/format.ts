/** Numbers and dates as people read them. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** Bytes with a binary unit: 412 KiB, 27.4 MiB. */
export function bytes(count: number): string {
  let unit = 0;
  let value = count;
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** 0.0153 as 1.5 %. */
export function percent(fraction: number): string {
  if (!Number.isFinite(fraction)) return "–";
  const value = fraction * 100;
  return `${value.toFixed(value < 9.95 ? 1 : 0)} %`;
}

/** A number without needless digits: 0.703125 as 0.7031, 1e-5 as 1e-5. */
export function number(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value).replace("-", "−");
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

/** DICOM's YYYYMMDD as 2004-05-30; anything else as it is. */
export function date(value: string | null | undefined): string {
  const match = /^(\d{4})(\d{2})(\d{2})$/.exec(value ?? "");
  return match ? `${match[1]}-${match[2]}-${match[3]}` : (value ?? "");
}

/** 1234567 as 1,234,567 in the reader's language. */
export function count(value: number): string {
  return value.toLocaleString("en");
}
