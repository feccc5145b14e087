/** The HTTP API, typed from the server's OpenAPI description. */

import type { components } from "./schema";

type Schemas = components["schemas"];
export type Collection = Schemas["CollectionItem"];
export type Study = Schemas["StudyItem"];
export type SeriesSummary = Schemas["SeriesItem"];
export type SeriesDetail = Schemas["SeriesDetail"];
export type LevelDetail = Schemas["LevelItem"];

export interface Page<T> {
  items: T[];
  total: number;
}

const ROOT = "/api/v1";

/** An answer of the server that is not a success. */
export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Throws ApiError unless the response is a success. */
export async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  let code = "http";
  let message = `${response.status} ${response.statusText}`.trim();
  try {
    const body = (await response.json()) as Partial<Schemas["ErrorAnswer"]>;
    if (body.error) ({ code, message } = body.error);
  } catch {
    // Not JSON: a proxy answered. The status says what there is to say.
  }
  throw new ApiError(response.status, code, message);
}

type Query = Record<string, string | number | undefined>;

function address(path: string, query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") parameters.set(key, String(value));
  }
  const text = parameters.toString();
  return ROOT + path + (text ? `?${text}` : "");
}

async function getJson<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> {
  const response = await checked(await fetch(address(path, query), { signal: signal ?? null }));
  return (await response.json()) as T;
}

const series = (uid: string): string => `/series/${encodeURIComponent(uid)}`;

export const api = {
  collections: (signal?: AbortSignal) => getJson<Page<Collection>>("/collections", {}, signal),
  studies: (query: { collection: string; offset: number; limit: number }, signal?: AbortSignal) =>
    getJson<Page<Study>>("/studies", query, signal),
  seriesList: (
    query: { collection?: string; study?: string; offset: number; limit: number },
    signal?: AbortSignal,
  ) => getJson<Page<SeriesSummary>>("/series", query, signal),
  series: (uid: string, signal?: AbortSignal) => getJson<SeriesDetail>(series(uid), {}, signal),
};

/** Addresses of binary answers. */
export const url = {
  index: (uid: string) => address(`${series(uid)}/index`),
  thumbnail: (uid: string, size: number) =>
    address(`${series(uid)}/thumbnail`, { size, upsample: "true" }),
  pixels: (uid: string, level: number, start: number, stop: number) =>
    address(`${series(uid)}/pixels`, { level, start, stop }),
  export: (uid: string, format: string, level: number) => address(`${series(uid)}/export`, { format, level }),
};
