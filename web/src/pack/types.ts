/** The words of the pack format (docs/design/pack-format.md). */

/** Lane numbers as they lie in the index. */
export const LANE = { htj2k: 1, polyphase: 2, float: 3, affine: 4, ranked: 5, complex: 6, labels: 7, source: 8 } as const;

/** The facts of a series that the reader and the viewer need; further keys are allowed. */
export interface SeriesFacts {
  uid: string;
  frames: number;
  rows: number;
  columns: number;
  dtype: string;
  samples?: number;
  photometric?: string;
  dimensions?: number[];
  [key: string]: unknown;
}

export interface PackIndex {
  series: SeriesFacts;
  /** D: how often the image is halved. There are D + 1 levels and D + 1 parts a frame. */
  decompositions: number;
  parts: number;
  frames: number;
  /** Frames a block; the last may have fewer. */
  blockFrames: number;
  /** Byte offsets from the beginning of the pack. */
  body: { start: number; stop: number };
  /** [parts][frames], flattened: bytes of each part. */
  lengths: Uint32Array;
  /** [parts][frames], flattened: where each part starts in the pack. */
  offsets: Float64Array;
  /** [parts][frames], flattened: CRC-32C of each part. */
  checksums: Uint32Array;
  lanes: Uint8Array;
  /** What belongs before part 0 of a frame: the main header of its codestream, or nothing. */
  head(frame: number): Uint8Array;
  /** The two parameters of a frame: f64 in the float lane, i64 elsewhere. */
  params(frame: number): [number, number];
}

export class PackError extends Error {
  override name = "PackError";
}
