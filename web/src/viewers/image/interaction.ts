/** Pointer, wheel and keys to intentions. Holds no state of the picture. */

import { CT_PRESETS } from "./window";

export type Tool = "window" | "scroll" | "pan" | "zoom";

export interface Intentions {
  /** Move by slices; `time` asks for the time axis, where there is one. */
  scroll(steps: number, time?: boolean): void;
  jump(to: "first" | "last"): void;
  /** Screen distances in CSS pixels. */
  window(dx: number, dy: number): void;
  pan(dx: number, dy: number): void;
  /** Zoom about a place on the stage in CSS pixels; the middle if none is given. */
  zoom(factor: number, x?: number, y?: number): void;
  preset(key: string): void;
  command(name: "reset" | "invert" | "smooth" | "play" | "help" | "fullscreen"): void;
  /** The pointer is over a place on the stage, or left it. */
  hover(x: number | null, y: number): void;
  readonly tool: (touch: boolean) => Tool;
  readonly wheelZooms: boolean;
}

const SLICE_PIXELS = 8;
const WHEEL_PIXELS = 40;

/** Listens on the stage and the root; returns what ends it. */
export function listen(root: HTMLElement, stage: HTMLElement, to: Intentions): () => void {
  const abort = new AbortController();
  const on = <K extends keyof HTMLElementEventMap>(
    target: HTMLElement,
    type: K,
    listener: (event: HTMLElementEventMap[K]) => void,
    passive = true,
  ): void => target.addEventListener(type, listener, { signal: abort.signal, passive });

  const place = (event: MouseEvent): [number, number] => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  // -- wheel ----------------------------------------------------------------------------------------------
  let turned = 0;
  on(stage, "wheel", (event) => {
    event.preventDefault();
    const raw = event.deltaY || event.deltaX;
    const pixels = raw * (event.deltaMode === 1 ? 40 : event.deltaMode === 2 ? 400 : 1);
    if (event.ctrlKey || event.shiftKey || event.metaKey || to.wheelZooms) {
      // A pinch on a track pad comes as small steps with ctrl.
      to.zoom(Math.exp(-Math.max(-120, Math.min(120, pixels)) / (Math.abs(pixels) < 30 ? 60 : 420)), ...place(event));
      return;
    }
    if (Math.abs(pixels) >= 50) {
      turned = 0;
      to.scroll(Math.sign(pixels) * Math.max(1, Math.round(Math.abs(pixels) / 120)));
      return;
    }
    if (Math.sign(pixels) !== Math.sign(turned)) turned = 0;
    turned += pixels;
    const steps = Math.trunc(turned / WHEEL_PIXELS);
    if (steps) {
      turned -= steps * WHEEL_PIXELS;
      to.scroll(steps);
    }
  }, false);

  // -- pointers -------------------------------------------------------------------------------------------
  const pointers = new Map<number, { x: number; y: number }>();
  let tool: Tool = "window";
  let dragged = 0;
  on(stage, "pointerdown", (event) => {
    root.focus({ preventScroll: true });
    const [x, y] = place(event);
    pointers.set(event.pointerId, { x, y });
    stage.setPointerCapture(event.pointerId);
    dragged = 0;
    tool = event.button === 0 ? to.tool(event.pointerType !== "mouse") : "pan";
    if (event.button !== 0) event.preventDefault();
  }, false);
  on(stage, "pointermove", (event) => {
    const [x, y] = place(event);
    const last = pointers.get(event.pointerId);
    if (!last) {
      to.hover(x, y);
      return;
    }
    const [dx, dy] = [x - last.x, y - last.y];
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, { x, y });
    if (other) {
      const before = Math.hypot(last.x - other.x, last.y - other.y);
      const after = Math.hypot(x - other.x, y - other.y);
      if (before > 0) to.zoom(after / before, (x + other.x) / 2, (y + other.y) / 2);
      to.pan(dx / 2, dy / 2);
      return;
    }
    if (tool === "window") to.window(dx, dy);
    else if (tool === "pan") to.pan(dx, dy);
    else if (tool === "zoom") to.zoom(Math.exp(-dy / 150));
    else {
      dragged += dy;
      const steps = Math.trunc(dragged / SLICE_PIXELS);
      dragged -= steps * SLICE_PIXELS;
      if (steps) to.scroll(steps);
    }
    to.hover(x, y);
  });
  const release = (event: PointerEvent): void => {
    pointers.delete(event.pointerId);
  };
  on(stage, "pointerup", release);
  on(stage, "pointercancel", release);
  on(stage, "pointerleave", () => to.hover(null, 0));
  on(stage, "contextmenu", (event) => event.preventDefault(), false);
  on(stage, "auxclick", (event) => event.preventDefault(), false);
  on(stage, "dblclick", () => to.command("reset"));

  // -- keys -----------------------------------------------------------------------------------------------
  const keys: Record<string, () => void> = {
    ArrowUp: () => to.scroll(-1),
    ArrowDown: () => to.scroll(1),
    ArrowLeft: () => to.scroll(-1, true),
    ArrowRight: () => to.scroll(1, true),
    PageUp: () => to.scroll(-10),
    PageDown: () => to.scroll(10),
    Home: () => to.jump("first"),
    End: () => to.jump("last"),
    "+": () => to.zoom(1.25),
    "=": () => to.zoom(1.25),
    "-": () => to.zoom(0.8),
    "0": () => to.preset("0"),
    r: () => to.command("reset"),
    i: () => to.command("invert"),
    s: () => to.command("smooth"),
    f: () => to.command("fullscreen"),
    " ": () => to.command("play"),
    "?": () => to.command("help"),
  };
  for (const { key } of CT_PRESETS) keys[key] = () => to.preset(key);
  on(root, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // A slider has its own meaning of arrows, Home and End, and it is the same one.
    if (event.target instanceof HTMLInputElement && /^(Arrow|Page|Home|End)/.test(event.key)) return;
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }, false);

  return () => abort.abort();
}
