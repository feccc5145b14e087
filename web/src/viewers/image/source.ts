/**
 * Fetches and decodes the frames of one series, coarse first. Knows nothing of the screen: it is told which
 * frame is wanted at which level, and says when a better picture of a frame is there.
 */

import { checked, url, type SeriesDetail } from "../../api/client";
import { crc32c } from "../../pack/crc32c";
import { parseIndex, PackError, type PackIndex } from "../../pack/index";
import { NotDecodableHere } from "../../pack/lanes";
import {
  levelShape, partsOf, volumeRanges, volumeSegments, wholePart, type Batch, type ByteRange, type Segment,
} from "../../pack/layout";
import { answerOf, RANGES_AT_ONCE } from "../../pack/ranges";
import { fromBytes, itemSize } from "../../pack/values";
import { toRgba } from "./colour";
import { sharedDecoders, type Decoded } from "./decoders";
import { planFetches, type Want } from "./plan";
import type { Picture } from "./renderer";

/** The whole volume is fetched first at the sharpest level that costs at most this. */
const VOLUME_BUDGET = 512 * 1024;
const CONCURRENCY = 4;
/** Decoded pictures kept, in bytes. */
const PICTURE_BUDGET = 192 * 1024 * 1024;
/** Fetched parts kept, in bytes. */
const PART_BUDGET = 384 * 1024 * 1024;

export interface SourceEvents {
  /** A better picture of a frame is ready. */
  picture(picture: Picture): void;
  /** Bytes were received, or a request began or ended. */
  progress(): void;
  failed(error: Error): void;
}

interface Flight {
  batch: Batch;
  abort: AbortController;
}

export class SeriesSource {
  /** Bytes of image data received, the index included. */
  bytesUsed = 0;
  bytesTotal: number;
  index: PackIndex | null = null;

  private readonly decoders = sharedDecoders();
  private readonly parts = new Map<number, Uint8Array>();
  private readonly pictures = new Map<number, Picture>();
  private readonly decoding = new Set<string>();
  private readonly damaged = new Map<number, number>();
  private readonly abort = new AbortController();
  private flights: Flight[] = [];
  private partBytes = 0;
  private pictureBytes = 0;
  private want: Want;
  private baseDone = false;
  /** The browser cannot decode this series; the server sends values. */
  private raw = false;
  private rawBusy = false;
  private disposed = false;
  private readonly baseLevel: number;

  constructor(
    private readonly series: SeriesDetail,
    private readonly events: SourceEvents,
    want: Want,
  ) {
    this.want = want;
    const details = [...series.level_details].sort((a, b) => a.level - b.level);
    this.bytesTotal = details[0]?.bytes ?? series.stored_bytes;
    const smallest = details.length - 1;
    const frames = series.shape[0]!;
    // A single image, or a volume too large for the budget even at its smallest level, starts small.
    const within = details.find((detail) => detail.bytes <= VOLUME_BUDGET)?.level;
    this.baseLevel = frames > 1 ? (within ?? smallest) : smallest;
    void this.begin(frames === 1 || within !== undefined);
  }

  get loading(): boolean {
    return !this.disposed && (this.flights.length > 0 || !this.baseDone || this.decoding.size > 0 || this.rawBusy);
  }

  /** The best picture of a frame so far. */
  picture(frame: number): Picture | undefined {
    const picture = this.pictures.get(frame);
    if (picture) {
      this.pictures.delete(frame);
      this.pictures.set(frame, picture);
    }
    return picture;
  }

  request(want: Want): void {
    this.want = want;
    this.step();
  }

  dispose(): void {
    this.disposed = true;
    this.abort.abort();
    for (const flight of this.flights) flight.abort.abort();
    this.parts.clear();
    this.pictures.clear();
  }

  // -- starting -------------------------------------------------------------------------------------------

  /** Index and the low level of the whole volume at the same time: one round trip to the first picture. */
  private async begin(wholeVolume: boolean): Promise<void> {
    try {
      const signal = this.abort.signal;
      const indexed = this.fetchIndex(signal);
      const detail = this.series.level_details.find(({ level }) => level === this.baseLevel);
      if (wholeVolume && detail) {
        // Parts cannot be told apart before the index is there: keep what comes until then.
        const chunks: Uint8Array[] = [];
        let sorter: ((chunk: Uint8Array) => void) | null = null;
        const base = this.receive(detail.ranges.map(([start, stop]) => ({ start, stop })), signal, (chunk) => {
          if (sorter) sorter(chunk);
          else chunks.push(chunk);
        });
        base.catch(() => undefined);
        const index = await indexed;
        const ranges = volumeRanges(index, this.baseLevel);
        const agree = ({ start, stop }: ByteRange, i: number): boolean =>
          start === detail.ranges[i]![0] && stop === detail.ranges[i]![1];
        if (ranges.length === detail.ranges.length && ranges.every(agree)) {
          sorter = this.sorter(volumeSegments(index, this.baseLevel));
          chunks.forEach(sorter);
        }
        await base;
      } else {
        await indexed;
      }
    } catch (error) {
      if (!this.disposed) this.events.failed(asError(error));
    }
    this.baseDone = true;
    this.step();
    this.events.progress();
  }

  private async fetchIndex(signal: AbortSignal): Promise<PackIndex> {
    const response = await checked(await fetch(url.index(this.series.uid), { signal }));
    const stored = new Uint8Array(await response.arrayBuffer());
    this.bytesUsed += stored.length;
    const index = parseIndex(stored);
    this.bytesTotal = index.body.stop - index.body.start + stored.length;
    this.index = index;
    this.events.progress();
    return index;
  }

  // -- fetching -------------------------------------------------------------------------------------------

  /** Receive ranges of the pack, ascending and apart, piece by piece: their bytes one after the other. */
  private async receive(
    ranges: readonly ByteRange[],
    signal: AbortSignal,
    take: (chunk: Uint8Array) => void,
    cache: RequestCache = "default",
  ): Promise<void> {
    for (let first = 0; first < ranges.length; first += RANGES_AT_ONCE) {
      const group = ranges.slice(first, first + RANGES_AT_ONCE);
      const headers = { Range: `bytes=${group.map(({ start, stop }) => `${start}-${stop - 1}`).join(",")}` };
      const response = await checked(await fetch(this.series.pack.url, { headers, signal, cache }));
      const answer = answerOf(response.status, response.headers.get("content-type") ?? "", group, take);
      const reader = response.body!.getReader();
      while (!answer.done) {
        const { value, done } = await reader.read();
        if (done) throw new PackError("the server sent fewer bytes than it was asked for");
        this.bytesUsed += value.length;
        answer.feed(value);
        this.events.progress();
      }
      if (response.status !== 206) void reader.cancel();
      else if (group.length > 1) while (!(await reader.read()).done); // the end of the last boundary
    }
  }

  /** Cuts the bytes of segments, which lie in the order of the pack, into parts as they come. */
  private sorter(segments: readonly Segment[]): (chunk: Uint8Array) => void {
    let current = 0;
    let filled = 0;
    let buffer: Uint8Array | null = null;
    const finishEmpty = (): void => {
      for (; current < segments.length; current++) {
        const segment = segments[current]!;
        if (segment.stop > segment.start) break;
        this.store(segment.part, segment.frame, new Uint8Array(0));
      }
    };
    finishEmpty();
    return (chunk) => {
      let touched = false;
      for (let at = 0; at < chunk.length && current < segments.length; ) {
        const segment = segments[current]!;
        const length = segment.stop - segment.start;
        buffer ??= new Uint8Array(length);
        const taken = Math.min(length - filled, chunk.length - at);
        buffer.set(chunk.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
        if (filled === length) {
          touched ||= segment.frame === this.want.frame;
          this.store(segment.part, segment.frame, buffer);
          buffer = null;
          filled = 0;
          current++;
          finishEmpty();
        }
      }
      if (touched) this.decodeWanted();
    };
  }

  private key(part: number, frame: number): number {
    return part * this.index!.frames + frame;
  }

  private store(part: number, frame: number, bytes: Uint8Array): void {
    const key = this.key(part, frame);
    if (crc32c(bytes) !== this.index!.checksums[key]) {
      const times = (this.damaged.get(key) ?? 0) + 1;
      this.damaged.set(key, times);
      if (times > 1) this.events.failed(new PackError(`part ${part} of frame ${frame} is damaged`));
      return;
    }
    if (this.parts.has(key)) return;
    this.parts.set(key, bytes);
    this.partBytes += bytes.length;
    this.forgetParts();
  }

  /** Old sharp parts go first when there is too much; the base level stays. */
  private forgetParts(): void {
    if (this.partBytes <= PART_BUDGET) return;
    const index = this.index!;
    const keep = new Set([this.want.frame, ...this.want.neighbours]);
    for (const [key, bytes] of this.parts) {
      if (this.partBytes <= PART_BUDGET * 0.8) break;
      const part = Math.floor(key / index.frames);
      if (part <= index.decompositions - this.baseLevel || keep.has(key % index.frames)) continue;
      this.parts.delete(key);
      this.partBytes -= bytes.length;
    }
  }

  /** Begin what should be under way and is not; stop what nobody wants any more. */
  private step(): void {
    const { index, want } = this;
    if (this.disposed || !index) return;
    if (this.raw) {
      void this.stepRaw();
      return;
    }
    this.decodeWanted();
    if (!this.baseDone) return;

    const wanted = new Set([want.frame, ...want.neighbours]);
    const lastPart = index.decompositions - want.level;
    this.flights = this.flights.filter((flight) => {
      const useful = flight.batch.segments.some(({ frame, part }) => wanted.has(frame) && part <= lastPart);
      if (!useful) flight.abort.abort();
      return useful;
    });
    const coming = new Set(this.flights.flatMap(({ batch }) => batch.segments.map((s) => this.key(s.part, s.frame))));
    const has = (part: number, frame: number): boolean => {
      const key = this.key(part, frame);
      if (this.parts.has(key) || coming.has(key) || (this.damaged.get(key) ?? 0) > 1) return true;
      return (this.pictures.get(frame)?.level ?? Infinity) <= want.level;
    };
    for (const batch of planFetches(index, want, has)) {
      if (this.flights.length >= CONCURRENCY) break;
      void this.fly(batch);
    }
  }

  private async fly(batch: Batch): Promise<void> {
    const flight: Flight = { batch, abort: new AbortController() };
    this.flights.push(flight);
    const again = batch.segments.some((segment) => this.damaged.has(this.key(segment.part, segment.frame)));
    try {
      const take = this.sorter(batch.segments);
      const filled = batch.stop > batch.start ? [batch] : [];
      await this.receive(filled, flight.abort.signal, take, again ? "reload" : "default");
      this.flights = this.flights.filter((other) => other !== flight);
      this.step();
    } catch (error) {
      this.flights = this.flights.filter((other) => other !== flight);
      if (!flight.abort.signal.aborted && !this.disposed) this.events.failed(asError(error));
    }
    if (!this.disposed) this.events.progress();
  }

  // -- decoding -------------------------------------------------------------------------------------------

  /** The sharpest level, no sharper than wanted, whose parts are there. */
  private available(frame: number, level: number): number | null {
    const index = this.index!;
    for (let k = level; k <= index.decompositions; k++) {
      if (partsOf(index, frame, k).every((part) => this.parts.has(this.key(part, frame)))) return k;
    }
    return null;
  }

  private decodeWanted(): void {
    const { frame, level, neighbours } = this.want;
    this.decode(frame, level);
    // One frame ahead is decoded before it is asked for.
    const next = neighbours[0];
    if (next !== undefined && this.pictures.get(frame)?.level === level) this.decode(next, level);
  }

  private decode(frame: number, wanted: number): void {
    const { index, series } = this;
    if (!index || this.raw || this.disposed) return;
    const level = this.available(frame, wanted);
    if (level === null || (this.pictures.get(frame)?.level ?? Infinity) <= level) return;
    const name = `${frame}/${level}`;
    if (this.decoding.has(name)) return;
    this.decoding.add(name);
    const job = {
      lane: index.lanes[frame]!,
      parts: partsOf(index, frame, level).map((part) =>
        wholePart(index, part, frame, this.parts.get(this.key(part, frame))!),
      ),
      decompositions: index.decompositions,
      level,
      rows: index.series.rows,
      columns: index.series.columns,
      samples: index.series.samples ?? 1,
      dtype: index.series.dtype,
      params: index.params(frame),
    };
    this.decoders
      .decode(job, series.photometric, this.bits)
      .then((decoded) => this.keep(frame, level, decoded))
      .catch((error: unknown) => {
        if (this.disposed) return;
        if (error instanceof NotDecodableHere) this.goRaw();
        else this.events.failed(asError(error));
      })
      .finally(() => {
        this.decoding.delete(name);
        if (!this.disposed) {
          this.decodeWanted();
          this.events.progress();
        }
      });
  }

  private get bits(): number {
    return this.series.bits_stored ?? 8 * itemSize(this.series.dtype);
  }

  private keep(frame: number, level: number, { values, rgba }: Decoded): void {
    if (this.disposed) return;
    const old = this.pictures.get(frame);
    if (old && old.level <= level) return;
    const [rows, columns] = levelShape(this.series.shape[1]!, this.series.shape[2]!, level);
    const picture: Picture = { frame, level, rows, columns, values, rgba };
    if (old) {
      this.pictures.delete(frame);
      this.pictureBytes -= old.values.byteLength;
    }
    this.pictures.set(frame, picture);
    this.pictureBytes += values.byteLength;
    for (const [other, { values: old_ }] of this.pictures) {
      if (this.pictureBytes <= PICTURE_BUDGET) break;
      if (other === this.want.frame || other === frame) continue;
      this.pictures.delete(other);
      this.pictureBytes -= old_.byteLength;
    }
    this.events.picture(picture);
  }

  // -- values from the server -----------------------------------------------------------------------------

  private goRaw(): void {
    if (this.raw) return;
    this.raw = true;
    for (const flight of this.flights) flight.abort.abort();
    this.flights = [];
    const [frames, rows, columns] = this.series.shape as [number, number, number];
    this.bytesTotal += frames * rows * columns * this.series.samples * itemSize(this.series.dtype);
    this.step();
  }

  /** The wanted frame, first at the smallest level, then as sharp as wanted. */
  private async stepRaw(): Promise<void> {
    if (this.rawBusy) return;
    this.rawBusy = true;
    try {
      for (;;) {
        const { frame, level } = this.want;
        const best = this.pictures.get(frame)?.level ?? Infinity;
        if (best <= level || this.disposed) break;
        const smallest = this.index!.decompositions;
        const next = best === Infinity ? Math.max(smallest, level) : level;
        const response = await checked(
          await fetch(url.pixels(this.series.uid, next, frame, frame + 1), { signal: this.abort.signal }),
        );
        const bytes = new Uint8Array(await response.arrayBuffer());
        this.bytesUsed += bytes.length;
        const values = fromBytes(bytes, this.series.dtype);
        const { samples, photometric } = this.series;
        const rgba = samples > 1;
        this.keep(frame, next, { values: rgba ? toRgba(values, samples, photometric, this.bits) : values, rgba });
      }
    } catch (error) {
      if (!this.disposed) this.events.failed(asError(error));
    }
    this.rawBusy = false;
    if (!this.disposed) this.events.progress();
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
