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

/** An array of the display type of a dtype: 64-bit and complex values become float32. */
export function allocate(dtype: string, length: number): Values {
  switch (dtype) {
    case "int8":
      return new Int8Array(length);
    case "bool":
    case "uint8":
      return new Uint8Array(length);
    case "int16":
      return new Int16Array(length);
    case "uint16":
      return new Uint16Array(length);
    case "int32":
      return new Int32Array(length);
    case "uint32":
      return new Uint32Array(length);
    default:
      return new Float32Array(length);
  }
}

/** Little-endian bytes as values; a complex number becomes its magnitude. */
export function fromBytes(bytes: Uint8Array, dtype: string): Values {
  const length = bytes.length / itemSize(dtype);
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
      return new Uint16Array(buffer);
    case "int32":
      return new Int32Array(buffer);
    case "uint32":
      return new Uint32Array(buffer);
    case "float32":
      return new Float32Array(buffer);
    case "float64":
      return Float32Array.from(new Float64Array(buffer));
    case "int64":
      return Float32Array.from(new BigInt64Array(buffer), Number);
    case "uint64":
      return Float32Array.from(new BigUint64Array(buffer), Number);
    case "float16":
      return Float32Array.from(new Uint16Array(buffer), halfToNumber);
    case "complex64":
      return magnitudes(new Float32Array(buffer), length);
    default:
      return magnitudes(new Float64Array(buffer), length);
  }
}

function magnitudes(pairs: Float32Array | Float64Array, length: number): Float32Array {
  const out = new Float32Array(length);
  for (let i = 0; i < length; i++) out[i] = Math.hypot(pairs[2 * i]!, pairs[2 * i + 1]!);
  return out;
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
