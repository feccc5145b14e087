/** How the image lies on the screen, and how the patient lies in the image. */

/** Turning of the image so that it lies as readers expect: first swap the axes, then flip. */
export interface Orientation {
  transpose: boolean;
  flipX: boolean;
  flipY: boolean;
}

export const AS_STORED: Orientation = { transpose: false, flipX: false, flipY: false };

type Affine = readonly (readonly number[])[];

/** Unit direction (RAS) of an axis of the affine: 0 column, 1 row, 2 slice. */
function direction(affine: Affine, axis: number): [number, number, number] {
  const d = [0, 1, 2].map((i) => affine[i]?.[axis] ?? 0) as [number, number, number];
  const length = Math.hypot(...d) || 1;
  return [d[0] / length, d[1] / length, d[2] / length];
}

const LETTERS = [
  ["R", "L"],
  ["A", "P"],
  ["S", "I"],
] as const;

/** Letters of the anatomical directions a vector points to, the strongest first: "A", "LP". */
export function lettersOf(vector: readonly number[]): string {
  return vector
    .map((value, axis) => ({ value, axis }))
    .filter(({ value }) => Math.abs(value) > 0.25)
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value))
    .map(({ value, axis }) => LETTERS[axis as 0 | 1 | 2][value > 0 ? 0 : 1])
    .join("");
}

/**
 * The turning that shows a slice as radiologists do: patient's right on the left, front or head at the top;
 * sagittal slices face left. DICOM images are stored like that already; NIfTI's often are not.
 */
export function radiological(affine: Affine): Orientation {
  const column = direction(affine, 0);
  const row = direction(affine, 1);
  // The axis of the patient that should run across the screen: left-right, unless the slice is sagittal.
  const normal = [0, 1, 2].reduce(
    (best, i) => (Math.hypot(column[i]!, row[i]!) < Math.hypot(column[best]!, row[best]!) ? i : best),
    0,
  );
  const across = normal === 0 ? 1 : 0;
  const transpose = Math.abs(row[across]!) > Math.abs(column[across]!);
  const [horizontal, vertical] = transpose ? [row, column] : [column, row];
  const down = normal === 2 ? 1 : 2;
  // The right edge is the patient's left (or back), the lower edge the back (or feet): all negative in RAS.
  return { transpose, flipX: horizontal[across]! > 0, flipY: vertical[down]! > 0 };
}

/** Letters at the edges of the screen. */
export function edgeLetters(affine: Affine, orientation: Orientation): Record<"left" | "right" | "top" | "bottom", string> {
  const axes = [direction(affine, 0), direction(affine, 1)];
  if (orientation.transpose) axes.reverse();
  const right = axes[0]!.map((value) => (orientation.flipX ? -value : value));
  const bottom = axes[1]!.map((value) => (orientation.flipY ? -value : value));
  const opposite = (vector: number[]): number[] => vector.map((value) => -value);
  return {
    right: lettersOf(right),
    left: lettersOf(opposite(right)),
    bottom: lettersOf(bottom),
    top: lettersOf(opposite(bottom)),
  };
}

/** [a, b, c, d, e, f]: screen x = a x + c y + e, screen y = b x + d y + f (the order of CSS matrix()). */
export type Matrix = [number, number, number, number, number, number];

export interface ViewState {
  /** Image point (full-resolution pixels, from the corner) in the middle of the screen. */
  centerX: number;
  centerY: number;
  /** 1 fits the image into the screen. */
  zoom: number;
}

export interface Frame {
  rows: number;
  columns: number;
  /** Size of a pixel; only the ratio counts. */
  rowSpacing: number;
  columnSpacing: number;
  orientation: Orientation;
}

export interface Size {
  width: number;
  height: number;
}

/** Device pixels per unit of the smaller pixel side, with the image fitted. */
function fitScale(frame: Frame, screen: Size): number {
  const unit = Math.min(frame.rowSpacing, frame.columnSpacing);
  const width = (frame.columns * frame.columnSpacing) / unit;
  const height = (frame.rows * frame.rowSpacing) / unit;
  const [across, down] = frame.orientation.transpose ? [height, width] : [width, height];
  return Math.min(screen.width / across, screen.height / down);
}

/** Image to screen. */
export function viewMatrix(view: ViewState, frame: Frame, screen: Size): Matrix {
  const unit = Math.min(frame.rowSpacing, frame.columnSpacing);
  const scale = fitScale(frame, screen) * view.zoom;
  const x = (scale * frame.columnSpacing) / unit;
  const y = (scale * frame.rowSpacing) / unit;
  const { transpose, flipX, flipY } = frame.orientation;
  const [across, down] = [flipX ? -1 : 1, flipY ? -1 : 1];
  const [a, b, c, d] = transpose ? [0, x * down, y * across, 0] : [x * across, 0, 0, y * down];
  return [
    a, b, c, d,
    screen.width / 2 - a * view.centerX - c * view.centerY,
    screen.height / 2 - b * view.centerX - d * view.centerY,
  ];
}

export function invert([a, b, c, d, e, f]: Matrix): Matrix {
  const det = a * d - b * c;
  const [ia, ib, ic, id] = [d / det, -b / det, -c / det, a / det];
  return [ia, ib, ic, id, -(ia * e + ic * f), -(ib * e + id * f)];
}

export function transform([a, b, c, d, e, f]: Matrix, x: number, y: number): [number, number] {
  return [a * x + c * y + e, b * x + d * y + f];
}

/** Device pixels per image pixel, along the more enlarged axis. */
export function pixelScale([a, b, c, d]: Matrix): number {
  return Math.max(Math.hypot(a, b), Math.hypot(c, d));
}

/** Zoom by a factor and keep the image point under a screen point where it is. */
export function zoomAt(view: ViewState, frame: Frame, screen: Size, factor: number, x: number, y: number): ViewState {
  const zoom = Math.min(Math.max(view.zoom * factor, 0.25), 64);
  const [px, py] = transform(invert(viewMatrix(view, frame, screen)), x, y);
  const kept = view.zoom / zoom;
  return { zoom, centerX: px + (view.centerX - px) * kept, centerY: py + (view.centerY - py) * kept };
}

/** Move the image by screen pixels, but never wholly off the screen. */
export function panBy(view: ViewState, frame: Frame, screen: Size, dx: number, dy: number): ViewState {
  const [a, b, c, d] = invert(viewMatrix(view, frame, screen));
  const clamp = (value: number, high: number): number => Math.min(Math.max(value, 0), high);
  return {
    zoom: view.zoom,
    centerX: clamp(view.centerX - a * dx - c * dy, frame.columns),
    centerY: clamp(view.centerY - b * dx - d * dy, frame.rows),
  };
}

/** Position along every axis of a frame number; the last axis changes fastest. */
export function unravel(frame: number, dimensions: readonly number[]): number[] {
  const position = new Array<number>(dimensions.length).fill(0);
  for (let axis = dimensions.length - 1, rest = frame; axis >= 0; axis--) {
    position[axis] = rest % dimensions[axis]!;
    rest = Math.floor(rest / dimensions[axis]!);
  }
  return position;
}

export function ravel(position: readonly number[], dimensions: readonly number[]): number {
  return position.reduce((frame, index, axis) => frame * dimensions[axis]! + index, 0);
}

/** A round length that fills about a fifth of the screen, for a scale bar. `scale`: device pixels per mm. */
export function barLength(scale: number, screenWidth: number): number {
  const wanted = screenWidth / 5 / scale;
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [5, 2, 1].map((step) => step * power).find((length) => length <= wanted) ?? power;
}
