/** Decodes frames away from the page's thread. */

import createOpenJph from "@cornerstonejs/codec-openjph";
import wasmUrl from "@cornerstonejs/codec-openjph/wasm?url";

import { decodeFrame, needsCodestreams, NotDecodableHere, type CodestreamDecoder, type DecodeJob } from "../../pack/lanes";
import { openJphDecoder } from "../../pack/openjph";
import { toRgba } from "./colour";

export interface DecodeRequest {
  id: number;
  job: DecodeJob;
  photometric: string;
  bits: number;
}

export type DecodeAnswer =
  | { id: number; ok: true; values: ArrayBufferView<ArrayBuffer>; rgba: boolean }
  | { id: number; ok: false; message: string; notDecodable: boolean };

const scope = self as unknown as DedicatedWorkerGlobalScope;

let ready: Promise<CodestreamDecoder> | undefined;

function codec(): Promise<CodestreamDecoder> {
  ready ??= createOpenJph({ locateFile: () => wasmUrl }).then(openJphDecoder, (cause: unknown) => {
    throw new NotDecodableHere("WebAssembly is not available", { cause });
  });
  return ready;
}
void codec().catch(() => undefined);

const noCodec: CodestreamDecoder = () => {
  throw new NotDecodableHere("the decoder is not loaded");
};

async function answer({ id, job, photometric, bits }: DecodeRequest): Promise<DecodeAnswer> {
  try {
    const values = decodeFrame(job, needsCodestreams(job) ? await codec() : noCodec);
    if (job.samples === 1) return { id, ok: true, values: values as ArrayBufferView<ArrayBuffer>, rgba: false };
    const rgba = toRgba(values, job.samples, photometric, bits) as Uint8ClampedArray<ArrayBuffer>;
    return { id, ok: true, values: rgba, rgba: true };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { id, ok: false, message, notDecodable: error instanceof NotDecodableHere };
  }
}

scope.onmessage = async (event: MessageEvent<DecodeRequest>) => {
  const result = await answer(event.data);
  scope.postMessage(result, result.ok ? [result.values.buffer] : []);
};
