/** The image viewer: one series, slice by slice, as sharp as the screen needs. */

import "./viewer.css";

import type { SeriesDetail } from "../../api/client";
import { bytes, number, percent } from "../../format";
import { messages } from "../../messages";
import { levelForScale } from "../../pack/layout";
import { isFloat } from "../../pack/values";
import type { Viewer } from "../types";
import { labelColours, paletteTable } from "./colour";
import {
  AS_STORED, barLength, edgeLetters, invert as inverse, panBy, pixelScale, radiological, ravel, transform, unravel,
  viewMatrix, zoomAt, type Frame, type Matrix, type Orientation, type Size, type ViewState,
} from "./geometry";
import { listen, type Tool } from "./interaction";
import { createRenderer, type Picture, type Renderer } from "./renderer";
import { SeriesSource } from "./source";
import { CT_PRESETS, percentileWindow, rampOf, storedRamp, type Rescale, type Window } from "./window";

export type { Tool, Window };

/** What the page around the viewer may want to show. */
export interface ViewerState {
  frame: number;
  level: number | null;
  exact: boolean;
  window: Window | null;
  /** Whether windows mean anything: not for colours and labels. */
  windowed: boolean;
  invert: boolean;
  smooth: boolean;
  full: boolean;
  playing: boolean;
  tool: Tool;
  zoom: number;
  bytesUsed: number;
  bytesTotal: number;
  loading: boolean;
}

export interface ImageViewerOptions {
  series: SeriesDetail;
  /** What the series is called. */
  title: string;
  onState?(state: ViewerState): void;
  /** The user asked for help. */
  onHelp?(): void;
}

export interface ImageViewerUpdate {
  frame?: number;
  /** null: the default window. */
  window?: Window | null;
  invert?: boolean;
  smooth?: boolean;
  /** Fetch level 0 even if the screen cannot show it. */
  full?: boolean;
  playing?: boolean;
  tool?: Tool;
  zoomBy?: number;
  reset?: boolean;
  fullscreen?: boolean;
  focus?: boolean;
}

const AHEAD = 5;
const BEHIND = 1;
const FRAMES_A_SECOND = 12;

export function mount(element: HTMLElement, options: ImageViewerOptions): Viewer<ImageViewerUpdate> {
  const viewer = new ImageViewer(element, options);
  return { update: (change) => viewer.update(change), dispose: () => viewer.dispose() };
}

class ImageViewer {
  private readonly series: SeriesDetail;
  private readonly root = make("div", "imv");
  private readonly stage = make("div", "imv-stage");
  private readonly canvas = make("canvas", "");
  private readonly text = {
    tl: make("div", "imv-text imv-tl"),
    tr: make("div", "imv-text imv-tr"),
    bl: make("div", "imv-text imv-bl"),
    br: make("div", "imv-text imv-br"),
  };
  private readonly progress = make("div", "imv-progress");
  private readonly errorBox = make("div", "imv-error");
  private readonly bar = make("div", "imv-bar");
  private readonly live = make("div", "imv-hidden");
  private readonly sliders: { axis: number; input: HTMLInputElement; output: HTMLOutputElement }[] = [];
  private readonly renderer: Renderer;
  private readonly source: SeriesSource;
  private readonly endListening: () => void;
  private readonly resizes: ResizeObserver;

  private readonly dimensions: number[];
  private readonly orientation: Orientation;
  private readonly geometry: Frame;
  private readonly rescale: Rescale;
  private readonly table: Uint8Array | null;
  private readonly unit: string;
  private readonly sliceAxis: number;
  private readonly timeAxis: number | null;

  private position: number[];
  private direction: { axis: number; step: number } | null = null;
  private view: ViewState;
  private screen: Size = { width: 0, height: 0 };
  private window: Window | null = null;
  private defaultWindow: Window | null = null;
  private invert = false;
  private smooth = true;
  private full = false;
  private playing: ReturnType<typeof setInterval> | null = null;
  private chosenTool: Tool | null = null;
  private shown: Picture | null = null;
  private pointer: [number, number] | null = null;
  private drawPending = 0;
  private announcePending: ReturnType<typeof setTimeout> | null = null;
  private announced = "";
  /** The frame whose refinement failed. */
  private troubled: number | null = null;
  private disposed = false;

  constructor(
    element: HTMLElement,
    private readonly options: ImageViewerOptions,
  ) {
    const series = (this.series = options.series);
    const [, rows, columns] = series.shape as [number, number, number];
    this.dimensions = [...series.dimensions];
    const last = this.dimensions.length - 1;
    // (60, 1) is a film of one slice: its slices are moments.
    this.sliceAxis = this.dimensions[last]! > 1 ? last : Math.max(0, this.dimensions.findLastIndex((n) => n > 1));
    const time = this.dimensions.findLastIndex((n, axis) => n > 1 && axis < this.sliceAxis);
    this.timeAxis = time >= 0 ? time : null;
    this.position = this.dimensions.map((n, axis) => (axis === last ? Math.floor(n / 2) : 0));
    const affine = series.affine as number[][] | null;
    this.orientation = affine && series.format !== "dicom" ? radiological(affine) : AS_STORED;
    const [, rowSpacing = 1, columnSpacing = 1] = series.spacing ?? [];
    this.geometry = { rows, columns, rowSpacing, columnSpacing, orientation: this.orientation };
    this.view = { centerX: columns / 2, centerY: rows / 2, zoom: 1 };
    this.rescale = { slope: series.rescale_slope || 1, intercept: series.rescale_intercept };
    this.unit = series.rescale_unit ? ` ${series.rescale_unit}` : "";
    this.table =
      series.samples > 1 ? null
      : series.palette ? paletteTable(series.palette)
      : series.label_map ? labelColours()
      : null;
    if (series.window_center !== null && series.window_width !== null) {
      this.defaultWindow = { center: series.window_center, width: series.window_width };
      this.window = this.defaultWindow;
    }

    this.build(affine);
    element.append(this.root);
    this.renderer = createRenderer(this.canvas);
    this.source = new SeriesSource(series, {
      picture: (picture) => this.onPicture(picture),
      progress: () => this.changed(),
      failed: (error) => this.onFailed(error),
    }, this.wanted());
    this.endListening = listen(this.root, this.stage, {
      scroll: (steps, time_) => this.scroll(steps, time_ ?? false),
      jump: (to) => this.moveTo(this.sliceAxis, to === "first" ? 0 : this.dimensions[this.sliceAxis]! - 1),
      window: (dx, dy) => this.dragWindow(dx, dy),
      pan: (dx, dy) => this.setView(panBy(this.view, this.geometry, this.screen, dx * this.ratio, dy * this.ratio)),
      zoom: (factor, x, y) => this.zoom(factor, x, y),
      preset: (key) => this.preset(key),
      command: (name) => this.command(name),
      hover: (x, y) => {
        this.pointer = x === null ? null : [x, y];
        this.changed();
      },
      tool: (touch) => this.tool(touch),
      wheelZooms: this.series.shape[0] === 1,
    });
    this.resizes = new ResizeObserver((entries) => this.onResize(entries.at(-1)!));
    this.resizes.observe(this.stage);
    document.addEventListener("fullscreenchange", this.changed);
  }

  update(change: ImageViewerUpdate): void {
    if (change.frame !== undefined) this.setPosition(unravel(change.frame, this.dimensions));
    if (change.window !== undefined) this.window = change.window ?? this.defaultWindow;
    if (change.invert !== undefined) this.invert = change.invert;
    if (change.smooth !== undefined) this.smooth = change.smooth;
    if (change.tool !== undefined) this.chosenTool = change.tool;
    if (change.full !== undefined) {
      this.full = change.full;
      this.source.request(this.wanted());
    }
    if (change.playing !== undefined) this.play(change.playing);
    if (change.zoomBy !== undefined) this.zoom(change.zoomBy);
    if (change.reset) this.command("reset");
    if (change.fullscreen) this.command("fullscreen");
    if (change.focus) this.root.focus({ preventScroll: true });
    this.changed();
  }

  dispose(): void {
    this.disposed = true;
    this.play(false);
    if (this.announcePending) clearTimeout(this.announcePending);
    cancelAnimationFrame(this.drawPending);
    document.removeEventListener("fullscreenchange", this.changed);
    this.resizes.disconnect();
    this.endListening();
    this.source.dispose();
    this.renderer.dispose();
    this.root.remove();
  }

  // -- building -------------------------------------------------------------------------------------------

  private build(affine: number[][] | null): void {
    const { root, stage, series } = this;
    const title = this.options.title;
    root.tabIndex = 0;
    root.setAttribute("role", "group");
    root.setAttribute("aria-roledescription", messages.viewer.role);
    root.setAttribute("aria-label", messages.viewer.label(title));
    this.canvas.setAttribute("role", "img");
    this.live.setAttribute("aria-live", "polite");
    this.errorBox.setAttribute("role", "alert");
    this.errorBox.hidden = true;
    const strong = make("strong", "");
    strong.textContent = title;
    this.text.tl.append(strong, "\n", [series.modality, series.subject].filter(Boolean).join(" · "));
    stage.append(this.canvas);
    if (affine) {
      for (const [edge, letters] of Object.entries(edgeLetters(affine, this.orientation))) {
        const label = make("div", "imv-edge");
        label.dataset.edge = edge;
        label.textContent = letters;
        stage.append(label);
      }
    }
    this.bar.append(make("span", ""));
    this.bar.hidden = true;
    stage.append(...Object.values(this.text), this.bar, this.progress, this.errorBox);
    const box = make("div", "imv-sliders");
    this.dimensions.forEach((count, axis) => {
      if (count > 1) box.append(this.slider(axis, count));
    });
    root.append(stage, box, this.live);
  }

  private slider(axis: number, count: number): HTMLElement {
    const row = make("label", "imv-slider");
    const name = make("span", "");
    name.textContent = this.axisName(axis);
    const input = make("input", "");
    Object.assign(input, { type: "range", min: "0", max: String(count - 1), step: "1" });
    input.setAttribute("aria-label", this.axisName(axis));
    input.addEventListener("input", () => this.moveTo(axis, Number(input.value)));
    const output = make("output", "");
    this.sliders.push({ axis, input, output });
    row.append(name, input, output);
    return row;
  }

  private axisName(axis: number): string {
    const { viewer } = messages;
    const last = this.dimensions.length - 1;
    if (axis === last) return this.series.affine ? viewer.slice : viewer.frame;
    if (axis === last - 1) return viewer.time;
    return viewer.axis(axis + 1);
  }

  // -- what to fetch --------------------------------------------------------------------------------------

  private get frame(): number {
    return ravel(this.position, this.dimensions);
  }

  private get ratio(): number {
    return this.screen.width / (this.stage.clientWidth || 1);
  }

  private matrix(): Matrix {
    return viewMatrix(this.view, this.geometry, this.screen);
  }

  private wanted() {
    const smallest = this.series.levels - 1;
    let level = smallest;
    if (this.full) level = 0;
    else if (this.screen.width > 0) level = levelForScale(pixelScale(this.matrix()), smallest);
    const longest = Math.max(this.geometry.rows, this.geometry.columns);
    while (level < smallest && longest / 2 ** level > (this.renderer?.maxSide ?? Infinity)) level++;
    return { frame: this.frame, neighbours: this.neighbours(), level };
  }

  /** Frames that come next if the reader goes on as before; none before the first step. */
  private neighbours(): number[] {
    if (!this.direction) return [];
    const { axis, step } = this.direction;
    const frames: number[] = [];
    const add = (distance: number): void => {
      const index = this.position[axis]! + distance * step;
      if (index < 0 || index >= this.dimensions[axis]!) return;
      frames.push(ravel(this.position.with(axis, index), this.dimensions));
    };
    for (let i = 1; i <= AHEAD; i++) add(i);
    for (let i = 1; i <= BEHIND; i++) add(-i);
    return frames;
  }

  // -- intentions -----------------------------------------------------------------------------------------

  private scroll(steps: number, time: boolean): void {
    const axis = time && this.timeAxis !== null ? this.timeAxis : this.sliceAxis;
    this.moveTo(axis, this.position[axis]! + steps);
  }

  private moveTo(axis: number, index: number): void {
    const clamped = Math.min(Math.max(index, 0), this.dimensions[axis]! - 1);
    const step = Math.sign(clamped - this.position[axis]!);
    if (step === 0) return;
    this.direction = { axis, step };
    this.setPosition(this.position.with(axis, clamped));
  }

  private setPosition(position: number[]): void {
    this.position = position;
    this.errorBox.hidden = true;
    this.troubled = null;
    this.source.request(this.wanted());
    this.changed();
    if (!this.playing) this.announceSoon();
  }

  private setView(view: ViewState): void {
    this.view = view;
    this.source.request(this.wanted());
    this.changed();
  }

  private zoom(factor: number, x?: number, y?: number): void {
    const { screen, ratio } = this;
    const [px, py] = [x === undefined ? screen.width / 2 : x * ratio, y === undefined ? screen.height / 2 : y * ratio];
    this.setView(zoomAt(this.view, this.geometry, screen, factor, px, py));
  }

  private dragWindow(dx: number, dy: number): void {
    if (!this.window || !this.windowed) return;
    const smallest = isFloat(this.series.dtype) ? 1e-6 : Math.abs(this.rescale.slope);
    const width = Math.max(this.window.width * Math.exp(dx / 250), smallest);
    this.window = { center: this.window.center + (dy * this.window.width) / 400, width };
    this.changed();
  }

  private preset(key: string): void {
    if (key === "0") this.window = this.defaultWindow;
    else if (this.isCt) {
      const preset = CT_PRESETS.find((one) => one.key === key);
      if (preset) this.window = { center: preset.center, width: preset.width };
    }
    this.changed();
  }

  private get isCt(): boolean {
    return this.series.modality === "CT" || this.series.rescale_unit === "HU";
  }

  private get windowed(): boolean {
    return this.series.samples === 1 && this.table === null;
  }

  private tool(touch: boolean): Tool {
    if (this.chosenTool) return this.chosenTool;
    if (touch && this.series.shape[0]! > 1) return "scroll";
    return this.windowed ? "window" : "pan";
  }

  private command(name: "reset" | "invert" | "smooth" | "play" | "help" | "fullscreen"): void {
    switch (name) {
      case "reset":
        this.window = this.defaultWindow;
        this.invert = false;
        this.setView({ centerX: this.geometry.columns / 2, centerY: this.geometry.rows / 2, zoom: 1 });
        break;
      case "invert":
        this.invert = !this.invert;
        break;
      case "smooth":
        this.smooth = !this.smooth;
        break;
      case "play":
        this.play(!this.playing);
        break;
      case "help":
        this.options.onHelp?.();
        break;
      case "fullscreen":
        if (document.fullscreenElement) void document.exitFullscreen();
        else void this.root.requestFullscreen?.().catch(() => undefined);
        break;
    }
    this.changed();
  }

  private play(on: boolean): void {
    if (on === (this.playing !== null)) return;
    if (!on) {
      clearInterval(this.playing!);
      this.playing = null;
      this.announceSoon();
      return;
    }
    const axis = this.timeAxis ?? this.sliceAxis;
    const count = this.dimensions[axis]!;
    if (count < 2) return;
    this.playing = setInterval(() => {
      // Wait for slow lines rather than run past what is there.
      if (this.shown?.frame !== this.frame) return;
      this.direction = { axis, step: 1 };
      this.setPosition(this.position.with(axis, (this.position[axis]! + 1) % count));
    }, 1000 / FRAMES_A_SECOND);
  }

  // -- events ---------------------------------------------------------------------------------------------

  private onPicture(picture: Picture): void {
    if (!this.defaultWindow && this.windowed) {
      this.defaultWindow = percentileWindow(picture.values as Float32Array, this.rescaleOf(picture.frame));
      this.window ??= this.defaultWindow;
    }
    if (picture.frame === this.frame) {
      this.changed();
      if (!this.playing) this.announceSoon();
    }
  }

  private onFailed(error: Error): void {
    // A missing refinement leaves the coarser picture; only nothing at all is worth a box.
    if (this.source?.picture(this.frame)) {
      console.warn(error);
      this.troubled = this.frame;
    } else {
      this.errorBox.textContent = `${messages.viewer.damaged}: ${error.message}`;
      this.errorBox.hidden = false;
    }
    this.changed();
  }

  private onResize(entry: ResizeObserverEntry): void {
    const exact = entry.devicePixelContentBoxSize?.[0];
    const ratio = globalThis.devicePixelRatio || 1;
    const width = exact?.inlineSize ?? Math.round(entry.contentRect.width * ratio);
    const height = exact?.blockSize ?? Math.round(entry.contentRect.height * ratio);
    if (width === 0 || height === 0) return;
    this.screen = { width, height };
    this.canvas.width = width;
    this.canvas.height = height;
    this.source.request(this.wanted());
    this.draw();
  }

  private readonly changed = (): void => {
    if (this.disposed || this.drawPending) return;
    this.drawPending = requestAnimationFrame(() => {
      this.drawPending = 0;
      this.draw();
    });
  };

  // -- showing --------------------------------------------------------------------------------------------

  /** Slope and intercept of a frame; those of the series unless frames have their own (PET). */
  private rescaleOf(frame: number): Rescale {
    const own = this.series.frame_rescale?.[frame];
    return own ? { slope: own[0] || 1, intercept: own[1] } : this.rescale;
  }

  private draw(): void {
    if (this.disposed || this.screen.width === 0) return;
    const picture = this.source.picture(this.frame) ?? this.shown;
    const matrix = this.matrix();
    if (picture) {
      const window = this.window ?? { center: 0.5, width: 1 };
      const whole = !isFloat(this.series.dtype) && Number.isInteger(this.rescale.slope);
      const { offset, gain } = storedRamp(rampOf(window, !whole), this.rescaleOf(picture.frame));
      this.renderer.draw({
        picture, matrix, offset, gain,
        rows: this.geometry.rows,
        columns: this.geometry.columns,
        invert: this.invert !== (this.series.photometric === "MONOCHROME1"),
        smooth: this.smooth,
        table: this.table,
        wrap: this.series.palette === null,
      });
      this.shown = picture;
    }
    this.describe(matrix);
  }

  private describe(matrix: Matrix): void {
    const { series, shown, source, text, window } = this;
    const current = shown?.frame === this.frame ? shown : null;
    const exact = current?.level === 0;
    const loading = source.loading;
    const data = this.root.dataset;
    data.frame = String(shown?.frame ?? "");
    data.level = String(shown?.level ?? "");
    data.exact = String(exact);
    data.loading = String(loading);
    data.bytesUsed = String(source.bytesUsed);
    data.bytesTotal = String(source.bytesTotal);
    data.view = matrix.join(" ");
    data.window = window ? `${window.center} ${window.width}` : "";
    data.inverted = String(this.invert);
    this.progress.toggleAttribute("data-on", loading);

    const { viewer } = messages;
    const status = make("span", exact ? "imv-badge" : "imv-dim");
    status.textContent = 
      exact ? viewer.exact : loading ? viewer.loading : this.troubled === this.frame ? viewer.unrefined : "";
    text.tr.replaceChildren(
      shown ? viewer.level(shown.level, shown.columns, shown.rows) + " " : "",
      status,
      "\n",
      viewer.used(bytes(source.bytesUsed), bytes(source.bytesTotal), percent(source.bytesUsed / source.bytesTotal)),
    );
    text.br.textContent = [
      this.windowed && window ? viewer.window(number(window.center, 4), number(window.width, 4), this.unit) : "",
      viewer.zoom(`${Math.round(pixelScale(matrix) * 100)} %`),
    ].filter(Boolean).join("\n");
    text.bl.textContent = [this.readout(matrix), this.placeText()].filter(Boolean).join("\n");

    for (const { axis, input, output } of this.sliders) {
      const index = this.position[axis]!;
      if (Number(input.value) !== index) input.value = String(index);
      const shownText = `${index + 1} / ${this.dimensions[axis]}`;
      output.textContent = shownText;
      input.setAttribute("aria-valuetext", viewer.position(this.axisName(axis), index + 1, this.dimensions[axis]!));
    }
    this.canvas.setAttribute("aria-label", this.placeText() || series.description || "");
    this.drawBar(matrix);
    this.options.onState?.({
      frame: this.frame,
      level: current?.level ?? null,
      exact, window, loading,
      windowed: this.windowed,
      invert: this.invert,
      smooth: this.smooth,
      full: this.full,
      playing: this.playing !== null,
      tool: this.tool(matchMedia("(pointer: coarse)").matches),
      zoom: this.view.zoom,
      bytesUsed: source.bytesUsed,
      bytesTotal: source.bytesTotal,
    });
  }

  private placeText(): string {
    return this.dimensions
      .map((count, axis) =>
        count > 1 ? messages.viewer.position(this.axisName(axis), this.position[axis]! + 1, count) : "")
      .filter(Boolean)
      .reverse()
      .join(" · ");
  }

  /** The value under the pointer, in the series' own unit. */
  private readout(matrix: Matrix): string {
    const { shown, pointer } = this;
    if (!pointer || !shown) return "";
    const [x, y] = transform(inverse(matrix), pointer[0] * this.ratio, pointer[1] * this.ratio).map(Math.floor) as [number, number];
    if (x < 0 || y < 0 || x >= this.geometry.columns || y >= this.geometry.rows) return "";
    const step = 2 ** shown.level;
    const column = Math.min(Math.round(x / step), shown.columns - 1);
    const row = Math.min(Math.round(y / step), shown.rows - 1);
    const at = row * shown.columns + column;
    const about = shown.level > 0 ? "≈ " : "";
    if (shown.rgba) {
      return `(${x}, ${y})  ${about}${Array.from(shown.values.subarray(4 * at, 4 * at + 3)).join(", ")}`;
    }
    const { slope, intercept } = this.rescaleOf(shown.frame);
    const value = shown.values[at]! * slope + intercept;
    return `(${x}, ${y})  ${about}${number(value, 5)}${this.unit}`;
  }

  private drawBar(matrix: Matrix): void {
    if (!this.series.spacing || this.screen.width === 0) return;
    const scale = pixelScale(matrix) / Math.max(this.geometry.columnSpacing, this.geometry.rowSpacing);
    const length = barLength(scale, this.screen.width);
    if (!Number.isFinite(length) || length <= 0) return;
    this.bar.hidden = false;
    this.bar.style.width = `${(length * scale) / this.ratio}px`;
    this.bar.firstElementChild!.textContent = messages.viewer.scaleBar(number(length));
  }

  private announceSoon(): void {
    if (this.announcePending) clearTimeout(this.announcePending);
    this.announcePending = setTimeout(() => {
      const { viewer } = messages;
      const level = this.shown?.level;
      const sharp = level === undefined ? "" : level === 0 ? viewer.announceExact : viewer.announceLevel(level);
      const text = [this.placeText(), sharp].filter(Boolean).join(", ");
      if (text === this.announced) return;
      this.announced = text;
      this.live.textContent = text;
    }, 500);
  }
}

function make<K extends keyof HTMLElementTagNameMap>(tag: K, className: string): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  return made;
}
