/** A few decoding workers with one queue. */

import { NotDecodableHere, type DecodeJob } from "../../pack/lanes";
import { PackError } from "../../pack/types";
import type { Values } from "../../pack/values";
import type { DecodeAnswer, DecodeRequest } from "./decode.worker";

export interface Decoded {
  values: Values | Uint8ClampedArray;
  rgba: boolean;
}

interface Waiting {
  request: DecodeRequest;
  resolve(decoded: Decoded): void;
  reject(error: Error): void;
}

let shared: Decoders | undefined;

/** The page's one set of workers: loaded once, kept for the next series. Call early to have them ready. */
export function sharedDecoders(): Decoders {
  shared ??= new Decoders();
  return shared;
}

class Decoders {
  private readonly idle: Worker[] = [];
  private readonly all: Worker[] = [];
  private readonly queue: Waiting[] = [];
  private readonly running = new Map<number, { waiting: Waiting; worker: Worker }>();
  private nextId = 1;

  constructor(count = Math.min(4, Math.max(1, (navigator.hardwareConcurrency || 2) - 1))) {
    for (let i = 0; i < count; i++) {
      const worker = new Worker(new URL("./decode.worker.ts", import.meta.url), { type: "module" });
      worker.onmessage = (event: MessageEvent<DecodeAnswer>) => this.finish(event.data);
      worker.onerror = (event) => {
        event.preventDefault();
        this.crash(worker, event.message);
      };
      this.idle.push(worker);
      this.all.push(worker);
    }
  }

  decode(job: DecodeJob, photometric: string, bits: number): Promise<Decoded> {
    return new Promise((resolve, reject) => {
      this.queue.push({ request: { id: this.nextId++, job, photometric, bits }, resolve, reject });
      this.pump();
      this.failIfNone(new NotDecodableHere("no decoding worker runs"));
    });
  }

  private pump(): void {
    while (this.idle.length && this.queue.length) {
      const worker = this.idle.pop()!;
      const waiting = this.queue.shift()!;
      this.running.set(waiting.request.id, { waiting, worker });
      worker.postMessage(waiting.request);
    }
  }

  private finish(answer: DecodeAnswer): void {
    const entry = this.running.get(answer.id);
    if (!entry) return;
    this.running.delete(answer.id);
    this.idle.push(entry.worker);
    if (answer.ok) entry.waiting.resolve({ values: answer.values as Values | Uint8ClampedArray, rgba: answer.rgba });
    else entry.waiting.reject(new (answer.notDecodable ? NotDecodableHere : PackError)(answer.message));
    this.pump();
  }

  private failIfNone(error: Error): void {
    if (this.all.length === 0) for (const waiting of this.queue.splice(0)) waiting.reject(error);
  }

  /** A worker that does not load (an old browser, a strict policy): let the server decode. */
  private crash(worker: Worker, message: string): void {
    const error = new NotDecodableHere(message || "a decoding worker failed");
    for (const [id, entry] of this.running) {
      if (entry.worker !== worker) continue;
      this.running.delete(id);
      entry.waiting.reject(error);
    }
    const at = this.idle.indexOf(worker);
    if (at >= 0) this.idle.splice(at, 1);
    this.all.splice(this.all.indexOf(worker), 1);
    worker.terminate();
    this.failIfNone(error);
  }
}
