/** Draws one frame. WebGL2 with whole-number textures and windowing in the shader; a 2D canvas without WebGL2. */

import { levelShape } from "../../pack/layout";
import type { Values } from "../../pack/values";
import { invert, type Matrix } from "./geometry";

/** A decoded frame at a level. */
export interface Picture {
  frame: number;
  level: number;
  rows: number;
  columns: number;
  /** Stored values of one sample a pixel, or RGBA. */
  values: Values | Uint8ClampedArray;
  rgba: boolean;
}

export interface DrawState {
  picture: Picture;
  /** Full-resolution size. */
  rows: number;
  columns: number;
  /** Image to canvas pixels. */
  matrix: Matrix;
  /** Grey = (stored - offset) * gain. */
  offset: number;
  gain: number;
  invert: boolean;
  smooth: boolean;
  /** RGBA table for palette colours and labels; labels beyond its end begin again after 0. */
  table: Uint8Array | null;
  wrap: boolean;
}

export interface Renderer {
  readonly maxSide: number;
  draw(state: DrawState): void;
  dispose(): void;
}

export function createRenderer(canvas: HTMLCanvasElement): Renderer {
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true });
  return gl ? new WebGlRenderer(gl, canvas) : new CanvasRenderer(canvas);
}

const VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(float(gl_VertexID & 1), float(gl_VertexID >> 1));
  gl_Position = vec4(corner * 4.0 - 1.0, 0.0, 1.0);
}`;

/** `S` is the sampler's type: isampler2D, usampler2D or sampler2D. */
const fragment = (S: string): string => `#version 300 es
precision highp float;
precision highp int;
precision highp ${S};
uniform ${S} image;
uniform sampler2D table;
uniform vec4 inverse;       // canvas to image, linear part
uniform vec2 shift;         // and offset
uniform vec2 size;          // full resolution
uniform float canvasHeight;
uniform float stride;        // full-resolution pixels between samples of this level
uniform float offset;
uniform float gain;
uniform bool inverted, smoothly, rgba, wrap;
uniform int tableLength;
out vec4 colour;

vec4 at(ivec2 p) {
  return vec4(texelFetch(image, clamp(p, ivec2(0), textureSize(image, 0) - 1), 0));
}

void main() {
  vec2 screen = vec2(gl_FragCoord.x, canvasHeight - gl_FragCoord.y);
  vec2 place = vec2(dot(inverse.xz, screen), dot(inverse.yw, screen)) + shift;
  colour = vec4(0.0, 0.0, 0.0, 1.0);
  if (any(lessThan(place, vec2(0.0))) || any(greaterThanEqual(place, size))) return;
  // Sample i of a level lies on pixel i * stride: both wavelet and polyphase keep the first pixel first.
  vec2 sample_ = (place - 0.5) / stride;
  vec4 value;
  if (smoothly && tableLength == 0) {
    vec2 base = floor(sample_);
    vec2 part = sample_ - base;
    ivec2 p = ivec2(base);
    value = mix(mix(at(p), at(p + ivec2(1, 0)), part.x),
                mix(at(p + ivec2(0, 1)), at(p + ivec2(1, 1)), part.x), part.y);
  } else {
    value = at(ivec2(floor(sample_ + 0.5)));
  }
  if (rgba) {
    float scale = ${S === "sampler2D" ? "1.0" : "1.0 / 255.0"};
    vec4 shown = value * scale;
    colour.rgb = (inverted ? 1.0 - shown.rgb : shown.rgb) * shown.a;
  } else if (tableLength > 0) {
    int i = int(value.r);
    if (wrap && i >= tableLength) i = 1 + (i - 1) % (tableLength - 1);
    i = clamp(i, 0, tableLength - 1);
    colour.rgb = texelFetch(table, ivec2(i & 255, i >> 8), 0).rgb;
  } else {
    float grey = clamp((value.r - offset) * gain, 0.0, 1.0);
    if (isnan(value.r)) grey = 0.0;
    else if (inverted) grey = 1.0 - grey;
    colour.rgb = vec3(grey);
  }
}`;

interface TextureKind {
  sampler: "isampler2D" | "usampler2D" | "sampler2D";
  internal: number;
  format: number;
  type: number;
}

class WebGlRenderer implements Renderer {
  readonly maxSide: number;
  private readonly programs = new Map<string, { program: WebGLProgram; at: (name: string) => WebGLUniformLocation | null }>();
  private texture: WebGLTexture | null = null;
  private tableTexture: WebGLTexture | null = null;
  private uploaded: Picture | null = null;
  private uploadedTable: Uint8Array | null = null;
  private last: DrawState | null = null;

  constructor(
    private readonly gl: WebGL2RenderingContext,
    private readonly canvas: HTMLCanvasElement,
  ) {
    this.maxSide = gl.getParameter(gl.MAX_TEXTURE_SIZE) as number;
    canvas.addEventListener("webglcontextlost", this.onLost);
    canvas.addEventListener("webglcontextrestored", this.onRestored);
  }

  private readonly onLost = (event: Event): void => event.preventDefault();

  private readonly onRestored = (): void => {
    this.programs.clear();
    this.texture = this.tableTexture = null;
    this.uploaded = this.uploadedTable = null;
    if (this.last) this.draw(this.last);
  };

  draw(state: DrawState): void {
    const { gl } = this;
    this.last = state;
    if (gl.isContextLost()) return;
    const kind = this.kindOf(state.picture);
    const { program, at } = this.programFor(kind.sampler);
    gl.useProgram(program);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.activeTexture(gl.TEXTURE0);
    if (this.uploaded !== state.picture) this.upload(state.picture, kind);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.activeTexture(gl.TEXTURE1);
    this.uploadTable(state.table ?? EMPTY_TABLE);
    const [a, b, c, d, e, f] = invert(state.matrix);
    gl.uniform1i(at("image"), 0);
    gl.uniform1i(at("table"), 1);
    gl.uniform4f(at("inverse"), a, b, c, d);
    gl.uniform2f(at("shift"), e, f);
    gl.uniform2f(at("size"), state.columns, state.rows);
    gl.uniform1f(at("canvasHeight"), this.canvas.height);
    gl.uniform1f(at("stride"), 2 ** state.picture.level);
    gl.uniform1f(at("offset"), state.offset);
    gl.uniform1f(at("gain"), state.gain);
    gl.uniform1i(at("inverted"), Number(state.invert));
    gl.uniform1i(at("smoothly"), Number(state.smooth));
    gl.uniform1i(at("rgba"), Number(state.picture.rgba));
    gl.uniform1i(at("wrap"), Number(state.wrap));
    gl.uniform1i(at("tableLength"), state.table && !state.picture.rgba ? state.table.length / 4 : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  private kindOf({ values, rgba }: Picture): TextureKind {
    const { gl } = this;
    const kind = (sampler: TextureKind["sampler"], internal: number, format: number, type: number): TextureKind => ({
      sampler, internal, format, type,
    });
    if (rgba) return kind("sampler2D", gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE);
    if (values instanceof Int8Array) return kind("isampler2D", gl.R8I, gl.RED_INTEGER, gl.BYTE);
    if (values instanceof Int16Array) return kind("isampler2D", gl.R16I, gl.RED_INTEGER, gl.SHORT);
    if (values instanceof Int32Array) return kind("isampler2D", gl.R32I, gl.RED_INTEGER, gl.INT);
    if (values instanceof Uint16Array) return kind("usampler2D", gl.R16UI, gl.RED_INTEGER, gl.UNSIGNED_SHORT);
    if (values instanceof Uint32Array) return kind("usampler2D", gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT);
    if (values instanceof Float32Array) return kind("sampler2D", gl.R32F, gl.RED, gl.FLOAT);
    return kind("usampler2D", gl.R8UI, gl.RED_INTEGER, gl.UNSIGNED_BYTE);
  }

  private upload(picture: Picture, kind: TextureKind): void {
    const { gl } = this;
    this.texture ??= gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    this.nearest();
    const source = picture.values instanceof Uint8ClampedArray ? asBytes(picture.values) : picture.values;
    gl.texImage2D(gl.TEXTURE_2D, 0, kind.internal, picture.columns, picture.rows, 0, kind.format, kind.type, source);
    this.uploaded = picture;
  }

  private uploadTable(table: Uint8Array): void {
    const { gl } = this;
    this.tableTexture ??= gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.tableTexture);
    if (this.uploadedTable === table) return;
    this.nearest();
    const rows = Math.ceil(table.length / 1024);
    const padded = new Uint8Array(rows * 1024);
    padded.set(table);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, padded);
    this.uploadedTable = table;
  }

  private nearest(): void {
    const { gl } = this;
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
    for (const axis of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, axis, gl.CLAMP_TO_EDGE);
  }

  private programFor(sampler: string) {
    const known = this.programs.get(sampler);
    if (known) return known;
    const { gl } = this;
    const program = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment(sampler)]] as const) {
      const shader = gl.createShader(type)!;
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      const logs = gl.getAttachedShaders(program)?.map((shader) => gl.getShaderInfoLog(shader));
      throw new Error(`the shader does not link: ${gl.getProgramInfoLog(program)} ${logs?.join(" ")}`);
    }
    const places = new Map<string, WebGLUniformLocation | null>();
    const at = (name: string): WebGLUniformLocation | null => {
      if (!places.has(name)) places.set(name, gl.getUniformLocation(program, name));
      return places.get(name)!;
    };
    const made = { program, at };
    this.programs.set(sampler, made);
    return made;
  }

  dispose(): void {
    this.canvas.removeEventListener("webglcontextlost", this.onLost);
    this.canvas.removeEventListener("webglcontextrestored", this.onRestored);
    this.last = null;
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

const EMPTY_TABLE = new Uint8Array(4);

function asBytes(values: Uint8ClampedArray): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** For machines without WebGL2 (some remote desktops): the same picture, coloured before it is scaled. */
class CanvasRenderer implements Renderer {
  readonly maxSide = 8192;
  private readonly context: CanvasRenderingContext2D | null;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d", { alpha: false });
  }

  draw(state: DrawState): void {
    const { context } = this;
    if (!context) return;
    const { picture } = state;
    const buffer = document.createElement("canvas");
    [buffer.width, buffer.height] = [picture.columns, picture.rows];
    buffer.getContext("2d")!.putImageData(new ImageData(colourPicture(state), picture.columns, picture.rows), 0, 0);
    context.resetTransform();
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(...state.matrix);
    context.imageSmoothingEnabled = state.smooth && !state.table;
    const step = 2 ** picture.level;
    const [rows, columns] = levelShape(state.rows, state.columns, picture.level);
    context.beginPath();
    context.rect(0, 0, state.columns, state.rows);
    context.save();
    context.clip();
    context.drawImage(buffer, 0.5 - step / 2, 0.5 - step / 2, columns * step, rows * step);
    context.restore();
  }

  dispose(): void {}
}

/** RGBA of every pixel of a picture. */
export function colourPicture(state: DrawState): Uint8ClampedArray<ArrayBuffer> {
  const { picture, table } = state;
  const { values } = picture;
  const count = picture.rows * picture.columns;
  const out = new Uint8ClampedArray(count * 4);
  for (let i = 0, to = 0; i < count; i++, to += 4) {
    out[to + 3] = 255;
    if (picture.rgba) {
      const alpha = values[to + 3]! / 255;
      for (let c = 0; c < 3; c++) out[to + c] = (state.invert ? 255 - values[to + c]! : values[to + c]!) * alpha;
    } else if (table) {
      const length = table.length / 4;
      let index = Math.trunc(values[i]!);
      if (state.wrap && index >= length) index = 1 + ((index - 1) % (length - 1));
      index = Math.min(Math.max(index, 0), length - 1);
      for (let c = 0; c < 3; c++) out[to + c] = table[4 * index + c]!;
    } else {
      const grey = Math.min(Math.max((values[i]! - state.offset) * state.gain, 0), 1);
      out[to] = out[to + 1] = out[to + 2] = 255 * (Number.isNaN(grey) ? 0 : state.invert ? 1 - grey : grey);
    }
  }
  return out;
}
