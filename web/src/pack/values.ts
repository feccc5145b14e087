/** Arrays of pixel values by NumPy's dtype names. */

/** What a frame becomes in the browser: types that WebGL and arithmetic can use. */
export type Values =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array;

const SIZES: Record<string, number> = {
  bool: 1,
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  uint64: 8,
  int64: 8,
  float16: 2,
  float32: 4,
  float64: 8,
  complex64: 8,
  complex128: 16,
};

/** Bytes of one value. */
export function itemSize(dtype: string): number {
  const size = SIZES[dtype];
  if (!size) throw new RangeError(`values of type ${dtype} are not known`);
  return size;
}

export function isFloat(dtype: string): boolean {
  return dtype.startsWith("float") || dtype.startsWith("complex");
}

/** The values of a frame, bit for bit: 16-bit floats as their bits, complex numbers as pairs. */
export type ExactValues = Values | Float64Array | BigInt64Array | BigUint64Array;

/** Little-endian bytes as exact values. Throws RangeError if they are not a whole number of values. */
export function exactFromBytes(bytes: Uint8Array, dtype: string): ExactValues {
  const size = itemSize(dtype);
  if (bytes.length % size) throw new RangeError(`${bytes.length} bytes are no whole number of ${dtype} values`);
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  switch (dtype) {
    case "int8":
      return new Int8Array(buffer);
    case "bool":
    case "uint8":
      return new Uint8Array(buffer);
    case "int16":
      return new Int16Array(buffer);
    case "uint16":
    case "float16":
      return new Uint16Array(buffer);
    case "int32":
      return new Int32Array(buffer);
    case "uint32":
      return new Uint32Array(buffer);
    case "int64":
      return new BigInt64Array(buffer);
    case "uint64":
      return new BigUint64Array(buffer);
    case "float32":
    case "complex64":
      return new Float32Array(buffer);
    default:
      return new Float64Array(buffer);
  }
}

/** Exact values of a real type from numbers, each rounded to that type. Integers have to fit it. */
export function exactFromNumbers(numbers: Float64Array | Int16Array, dtype: string): ExactValues {
  switch (dtype) {
    case "int64":
      return BigInt64Array.from(numbers as Iterable<number>, BigInt);
    case "uint64":
      return BigUint64Array.from(numbers as Iterable<number>, BigInt);
    case "float16":
      return Uint16Array.from(numbers, numberToHalf);
    case "float64":
      return numbers instanceof Float64Array ? numbers : new Float64Array(numbers);
    default: {
      if (dtype === "int16" && numbers instanceof Int16Array) return numbers;
      const values = exactFromBytes(new Uint8Array(numbers.length * itemSize(dtype)), dtype) as Values;
      values.set(numbers);
      return values;
    }
  }
}

/** Exact values as the screen needs them: 64-bit values become float32, complex numbers their magnitude. */
export function forDisplay(values: ExactValues, dtype: string): Values {
  if (values instanceof BigInt64Array || values instanceof BigUint64Array) {
    const out = new Float32Array(values.length);
    for (let i = 0; i < out.length; i++) out[i] = Number(values[i]!);
    return out;
  }
  if (dtype.startsWith("complex")) return magnitudes(values as Float32Array | Float64Array);
  if (dtype === "float16") {
    const out = new Float32Array(values.length);
    for (let i = 0; i < out.length; i++) out[i] = halfToNumber(values[i]!);
    return out;
  }
  return values instanceof Float64Array ? new Float32Array(values) : values;
}

/** Little-endian bytes as values for the screen. */
export function fromBytes(bytes: Uint8Array, dtype: string): Values {
  return forDisplay(exactFromBytes(bytes, dtype), dtype);
}

function magnitudes(pairs: Float32Array | Float64Array): Float32Array {
  const out = new Float32Array(pairs.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Math.hypot(pairs[2 * i]!, pairs[2 * i + 1]!);
  return out;
}

/** The nearest IEEE 754 half precision number, ties to even, as its bits. */
export function numberToHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(size)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  // Below 2^-14 numbers lie as close as 2^-24; above, 1024 lie in each doubling. A carry goes to the next exponent.
  let exponent = -14;
  while (size >= 2 ** (exponent + 1)) exponent++;
  const steps = roundTiesToEven(size * 2 ** (10 - exponent));
  return sign | (((exponent + 14) << 10) + steps);
}

function roundTiesToEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

/** IEEE 754 half precision. */
export function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
