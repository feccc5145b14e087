// The page against a running server: BASE_URL=http://127.0.0.1:8000 npm run e2e
// Prints "N passed, M failed"; exits with 1 if anything failed. SCREENSHOTS=DIR keeps pictures.

import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const BASE = (process.env.BASE_URL ?? "http://127.0.0.1:8000").replace(/\/$/, "");
const API = `${BASE}/api/v1`;
const SHOTS = process.env.SCREENSHOTS;
const WAIT = 30_000;

let passed = 0;
let failed = 0;

async function check(name, body) {
  try {
    const note = await body();
    passed++;
    console.log(`ok    ${name}${note ? ` (${note})` : ""}`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}: ${String(error?.message ?? error).split("\n").slice(0, 4).join(" | ")}`);
  }
}

function assert(condition, message) {
  if (!condition) throw new Error(message);
}

const getJson = async (path) => {
  const response = await fetch(API + path);
  assert(response.ok, `${path} answers ${response.status}`);
  return response.json();
};

// -- which series to look at --------------------------------------------------------------------------------

const { items: listed } = await getJson("/series?limit=1000");
const details = [];
for (const item of listed.slice(0, 200)) details.push(await getJson(`/series/${item.uid}`));
const grey = details
  .filter((one) => one.shape[0] > 3 && one.samples === 1 && !one.label_map && !one.palette && /int/.test(one.dtype) && !/64/.test(one.dtype))
  .filter((one) => one.level_details[0].bytes > 1.5 * 2 ** 20 && one.levels > 1)
  .sort((a, b) => a.level_details[0].bytes - b.level_details[0].bytes)[0];
const colour = details.find((one) => one.samples === 3 && one.photometric === "RGB" && one.dtype === "uint8");
const timed = details.find((one) => one.dimensions.filter((n) => n > 1).length > 1);

// -- what the canvas should show ----------------------------------------------------------------------------

const ARRAYS = {
  bool: Uint8Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, uint32: Uint32Array,
  int32: Int32Array, float32: Float32Array, float64: Float64Array,
};

async function pixelsOf(series, level, frame) {
  const response = await fetch(`${API}/series/${series.uid}/pixels?level=${level}&start=${frame}&stop=${frame + 1}`);
  assert(response.ok, `pixels answer ${response.status}`);
  return new ARRAYS[series.dtype](await response.arrayBuffer());
}

/** Grey levels (or RGB) of every canvas pixel, from stored values: bilinear, then the DICOM window. */
function expectedCanvas(series, values, level, { view, window, inverted }, width, height) {
  const [a, b, c, d, e, f] = view;
  const det = a * d - b * c;
  const step = 2 ** level;
  const [, rows, columns] = series.shape;
  const [levelRows, levelColumns] = [Math.ceil(rows / step), Math.ceil(columns / step)];
  const { samples } = series;
  const [center, span] = window ?? [0, 1];
  const linear = /int|bool/.test(series.dtype) && Number.isInteger(series.rescale_slope) && span >= 2;
  const low = linear ? center - 0.5 - (span - 1) / 2 : center - span / 2;
  const high = linear ? center - 0.5 + (span - 1) / 2 : center + span / 2;
  const flip = inverted !== (series.photometric === "MONOCHROME1");
  const out = new Float32Array(width * height * 3);
  const clamp = (value, top) => Math.min(Math.max(value, 0), top);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [sx, sy] = [x + 0.5 - e, y + 0.5 - f];
      const [px, py] = [(d * sx - c * sy) / det, (a * sy - b * sx) / det];
      if (px < 0 || py < 0 || px >= columns || py >= rows) continue;
      const [u, v] = [(px - 0.5) / step, (py - 0.5) / step];
      const [x0, y0] = [Math.floor(u), Math.floor(v)];
      for (let channel = 0; channel < samples; channel++) {
        const at = (i, j) => values[(clamp(j, levelRows - 1) * levelColumns + clamp(i, levelColumns - 1)) * samples + channel];
        const top = at(x0, y0) * (1 - u + x0) + at(x0 + 1, y0) * (u - x0);
        const bottom = at(x0, y0 + 1) * (1 - u + x0) + at(x0 + 1, y0 + 1) * (u - x0);
        const value = top * (1 - v + y0) + bottom * (v - y0);
        const at3 = (y * width + x) * 3;
        if (samples > 1) {
          out[at3 + channel] = value;
        } else {
          const shown = clamp((value * series.rescale_slope + series.rescale_intercept - low) / (high - low), 1);
          out.fill(255 * (flip ? 1 - shown : shown), at3, at3 + 3);
        }
      }
    }
  }
  return out;
}

/** Share of canvas pixels further than two grey levels from what is expected, and how varied the canvas is. */
async function compare(page, series) {
  const state = await stateOf(page);
  const { width, height, data } = await page.evaluate(() => {
    const source = document.querySelector(".imv canvas");
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [source.width, source.height];
    const context = copy.getContext("2d");
    context.drawImage(source, 0, 0);
    const pixels = context.getImageData(0, 0, copy.width, copy.height).data;
    let text = "";
    for (let i = 0; i < pixels.length; i += 4) text += String.fromCharCode(pixels[i], pixels[i + 1], pixels[i + 2]);
    return { width: copy.width, height: copy.height, data: btoa(text) };
  });
  const canvas = Buffer.from(data, "base64");
  const values = await pixelsOf(series, state.level, state.frame);
  const expected = expectedCanvas(series, values, state.level, state, width, height);
  let wrong = 0;
  let worst = 0;
  for (let i = 0; i < canvas.length; i++) {
    const distance = Math.abs(canvas[i] - expected[i]);
    if (distance > 2) wrong++;
    worst = Math.max(worst, distance);
  }
  return { wrong: wrong / canvas.length, worst, shades: new Set(canvas).size, canvas };
}

async function stateOf(page) {
  const data = await page.locator(".imv").evaluate((root) => ({ ...root.dataset }));
  const numbers = (text) => (text ? text.split(" ").map(Number) : null);
  return {
    frame: Number(data.frame), level: data.level === "" ? null : Number(data.level), exact: data.exact === "true",
    used: Number(data.bytesUsed), total: Number(data.bytesTotal), view: numbers(data.view), window: numbers(data.window),
    inverted: data.inverted === "true",
  };
}

/** Waits until the viewer's data attributes satisfy a condition. Asks from here: the page's policy forbids eval. */
async function settled(page, condition) {
  const root = page.locator(".imv");
  let data = {};
  for (const end = Date.now() + WAIT; Date.now() < end; ) {
    data = (await root.count()) ? await root.evaluate((element) => ({ ...element.dataset })) : {};
    if (data.level !== undefined && condition(data)) return;
    await page.waitForTimeout(40);
  }
  throw new Error(`the viewer did not get to ${condition}; it is at ${JSON.stringify(data)}`);
}

const frames = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

// -- the browser ---------------------------------------------------------------------------------------------

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
  ],
});

const complaints = [];
const foreign = [];

async function newPage(options) {
  const context = await browser.newContext({ bypassCSP: false, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT);
  page.on("pageerror", (error) => complaints.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const address = request.url();
    if (/^https?:/.test(address) && !address.startsWith(`${BASE}/`)) foreign.push(address);
  });
  return page;
}

async function shot(page, name) {
  if (!SHOTS) return;
  mkdirSync(SHOTS, { recursive: true });
  await page.waitForLoadState("networkidle");
  await page.screenshot({ path: `${SHOTS}/${name}.png` });
}

try {
  const page = await newPage({ viewport: { width: 1280, height: 800 }, colorScheme: "light" });
  assert(grey, "the server holds no grey series of more than three slices and 1.5 MiB: add the sample data");
  const middle = Math.floor(grey.shape[0] / 2);

  await check("the home page lists the collections", async () => {
    await page.goto(`${BASE}/`);
    await page.locator("[data-collection]").first().waitFor();
    const shown = await page.locator("[data-collection]").count();
    const { total } = await getJson("/collections");
    assert(shown === total, `${shown} cards for ${total} collections`);
    await shot(page, "home");
  });

  await check("a click opens a collection with thumbnails", async () => {
    await page.locator(`[data-collection=${JSON.stringify(grey.collection)}]`).click();
    await page.locator("[data-series]").first().waitFor();
    const image = page.locator("[data-series] img").first();
    await image.evaluate((img) => img.decode());
    assert((await image.evaluate((img) => img.naturalWidth)) > 0, "the first thumbnail is empty");
    await shot(page, "collection");
  });

  // Everything after the first range waits at a gate, so that the coarse picture can be looked at.
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  let ranges = 0;
  await page.route("**/api/v1/packs/**", async (route) => {
    if (++ranges > 1) await gate;
    await route.continue().catch(() => undefined);
  });

  await check("a click opens the series, and a coarse picture of the middle slice appears", async () => {
    const card = page.locator(`[data-series="${grey.uid}"]`);
    if (await card.count()) await card.click();
    else await page.goto(`${BASE}/series/${grey.uid}`);
    await settled(page, (data) => data.level !== "");
    await page.waitForTimeout(300);
    const state = await stateOf(page);
    assert(!state.exact, "the first picture claims to be exact");
    assert(state.level > 0 && state.frame === middle, `level ${state.level}, frame ${state.frame}`);
    const { wrong, worst, shades } = await compare(page, grey);
    assert(shades > 8, `the canvas holds only ${shades} shades`);
    assert(wrong < 0.001, `${(wrong * 100).toFixed(2)} % of the pixels differ, the worst by ${worst.toFixed(1)}`);
    await shot(page, "viewer-coarse");
    return `level ${state.level}, one range`;
  });

  await check("the coarse picture of the whole volume used a small part of the bytes", async () => {
    const { used, total } = await stateOf(page);
    const detail = grey.level_details.find((one) => one.bytes <= 512 * 1024) ?? grey.level_details.at(-1);
    assert(used <= detail.bytes + 1024 * 1024 * 0.25 + 100 * grey.shape[0], `used ${used}`);
    assert(used < 0.5 * total, `used ${used} of ${total}`);
    const text = await page.locator(".imv-tr").textContent();
    assert(/used .+ of .+ \(.+ %\)/.test(text), `the page says "${text}"`);
    return `${used} of ${total} bytes`;
  });

  await check("it refines until the canvas equals the full-resolution values", async () => {
    open();
    await page.getByRole("button", { name: "Full resolution" }).click();
    await settled(page, (data) => data.exact === "true");
    await frames(page);
    const { wrong, worst } = await compare(page, grey);
    assert(wrong < 0.0005, `${(wrong * 100).toFixed(3)} % of the pixels differ, the worst by ${worst.toFixed(1)}`);
    const { used, total } = await stateOf(page);
    assert(used < total, `used ${used} of ${total}`);
    await page.mouse.move(2, 300);
    await shot(page, "viewer");
    return `worst difference ${worst.toFixed(2)} grey levels, ${((100 * used) / total).toFixed(1)} % of the bytes`;
  });

  const stage = page.locator(".imv-stage");
  const box = await stage.boundingBox();
  const [cx, cy] = [box.x + box.width / 2, box.y + box.height / 2];

  await check("the wheel changes the slice, which becomes exact too", async () => {
    await page.mouse.move(cx, cy);
    await page.mouse.wheel(0, 120);
    await settled(page, (data) => data.frame === String(middle + 1) && data.exact === "true");
    await frames(page);
    const { wrong, worst } = await compare(page, grey);
    assert(wrong < 0.0005, `${(wrong * 100).toFixed(3)} % differ, the worst by ${worst.toFixed(1)}`);
  });

  await check("keys and the slider change the slice", async () => {
    await page.locator(".imv").focus();
    await page.keyboard.press("Home");
    await settled(page, (data) => data.frame === "0");
    await page.keyboard.press("ArrowDown");
    await settled(page, (data) => data.frame === "1");
    await page.keyboard.press("End");
    await settled(page, (data) => Number(data.frame) % grey.dimensions.at(-1) === grey.dimensions.at(-1) - 1);
    await page.getByRole("slider").last().fill(String(Math.min(2, grey.dimensions.at(-1) - 1)));
    await settled(page, (data) => data.frame === "2" && data.exact === "true");
    await page.locator(".imv [aria-live]", { hasText: /3 \/ \d+/ }).waitFor({ state: "attached" });
  });

  await check("a drag changes the window, R brings it back", async () => {
    const before = await stateOf(page);
    await page.mouse.move(cx, cy);
    await page.mouse.down();
    await page.mouse.move(cx + 60, cy + 40, { steps: 5 });
    await page.mouse.up();
    await frames(page);
    const after = await stateOf(page);
    assert(after.window[1] > before.window[1] && after.window[0] > before.window[0], `${before.window} to ${after.window}`);
    const { wrong, worst } = await compare(page, grey);
    assert(wrong < 0.0005, `${(wrong * 100).toFixed(3)} % differ, the worst by ${worst.toFixed(1)}`);
    await page.keyboard.press("r");
    await frames(page);
    assert(String((await stateOf(page)).window) === String(before.window), "R does not reset the window");
  });

  await check("I inverts", async () => {
    await page.keyboard.press("i");
    await frames(page);
    const { wrong } = await compare(page, grey);
    assert((await stateOf(page)).inverted && wrong < 0.0005, `${(wrong * 100).toFixed(3)} % differ`);
    await page.keyboard.press("i");
  });

  if (grey.modality === "CT" || grey.rescale_unit === "HU") {
    await check("number keys choose CT windows", async () => {
      await page.keyboard.press("1");
      await frames(page);
      assert(String((await stateOf(page)).window) === "-600,1500", `window ${(await stateOf(page)).window}`);
      await page.keyboard.press("0");
    });
  }

  await check("ctrl and wheel zoom at the pointer; right drag moves", async () => {
    const before = (await stateOf(page)).view;
    await page.mouse.move(cx, cy);
    await page.keyboard.down("Control");
    await page.mouse.wheel(0, -240);
    await page.keyboard.up("Control");
    await frames(page);
    const zoomed = (await stateOf(page)).view;
    const scale = (view) => Math.hypot(view[0], view[1]);
    assert(scale(zoomed) > scale(before) * 1.1, "the view is not enlarged");
    await page.mouse.down({ button: "right" });
    await page.mouse.move(cx + 30, cy + 20, { steps: 3 });
    await page.mouse.up({ button: "right" });
    await frames(page);
    const moved = (await stateOf(page)).view;
    assert(Math.abs(moved[4] - zoomed[4] - 30) < 1.5 && Math.abs(moved[5] - zoomed[5] - 20) < 1.5, `${zoomed} to ${moved}`);
    const { wrong } = await compare(page, grey);
    assert(wrong < 0.0005, `${(wrong * 100).toFixed(3)} % differ`);
    await page.keyboard.press("r");
  });

  await check("a question mark shows the help, Escape closes it", async () => {
    await page.locator(".imv").focus();
    await page.keyboard.press("?");
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
  });

  await check("the download links work", async () => {
    const links = page.locator("aside a[download]");
    const count = await links.count();
    assert(count >= 1, "there is none");
    const smallest = grey.levels - 1;
    for (const href of await links.evaluateAll((all) => all.map((a) => a.getAttribute("href")))) {
      const response = await fetch(BASE + href.replace(/level=\d+/, `level=${smallest}`));
      const body = await response.arrayBuffer();
      assert(response.ok && body.byteLength > 0, `${href} answers ${response.status}`);
      assert(/attachment/.test(response.headers.get("content-disposition") ?? ""), `${href} is no attachment`);
    }
    return `${count} formats`;
  });

  await page.unrouteAll({ behavior: "ignoreErrors" });

  if (colour) {
    await check("a colour image is shown as stored", async () => {
      await page.goto(`${BASE}/series/${colour.uid}`);
      await page.getByRole("button", { name: "Full resolution" }).click();
      await settled(page, (data) => data.exact === "true");
      await frames(page);
      const { wrong, worst } = await compare(page, colour);
      assert(wrong < 0.0005, `${(wrong * 100).toFixed(3)} % differ, the worst by ${worst.toFixed(1)}`);
      await shot(page, "viewer-colour");
    });
  }

  if (timed) {
    await check("a series with a time axis has a slider for it", async () => {
      await page.goto(`${BASE}/series/${timed.uid}`);
      await settled(page, (data) => data.level !== "");
      const before = (await stateOf(page)).frame;
      await page.locator(".imv").focus();
      await page.keyboard.press("ArrowRight");
      await settled(page, (data) => Number(data.frame) === before + timed.dimensions.at(-1));
      assert((await page.getByRole("slider").count()) === 2, "there are not two sliders");
    });
  }

  await check("dark theme and phone width: nothing sticks out, fingers scroll and zoom", async () => {
    const phone = await newPage({
      viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, colorScheme: "dark", hasTouch: true, isMobile: true,
    });
    for (const [name, path] of [["home", "/"], ["collection", `/collections/${encodeURIComponent(grey.collection)}`], ["viewer", `/series/${grey.uid}`]]) {
      await phone.goto(BASE + path);
      await phone.locator("[data-collection], [data-series], .imv[data-level]:not([data-level=''])").first().waitFor();
      await phone.waitForTimeout(700);
      const wide = await phone.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert(wide <= 0, `${path} is ${wide} pixels too wide`);
      await shot(phone, `phone-${name}`);
    }
    const touch = await phone.context().newCDPSession(phone);
    const fingers = (type, ...points) =>
      touch.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
    const before = await stateOf(phone);
    await fingers("touchStart", [200, 300]);
    for (let y = 310; y <= 360; y += 10) await fingers("touchMove", [200, y]);
    await fingers("touchEnd");
    await settled(phone, (data) => Number(data.frame) > before.frame + 2);
    const { view } = await stateOf(phone);
    await fingers("touchStart", [180, 400], [220, 400]);
    for (let d = 20; d <= 80; d += 10) await fingers("touchMove", [200 - d, 400], [200 + d, 400]);
    await fingers("touchEnd");
    await frames(phone);
    const pinched = (await stateOf(phone)).view;
    assert(pinched[0] / view[0] > 2, `two fingers zoom by ${pinched[0] / view[0]}`);
    await phone.context().close();
  });

  await check("an unknown series is an error in words", async () => {
    const before = complaints.length;
    await page.goto(`${BASE}/series/1.2.3.404`);
    await page.getByRole("alert").waitFor();
    complaints.splice(before);
  });

  await check("nothing was asked of other hosts, and the console is clean", () => {
    assert(foreign.length === 0, foreign.slice(0, 3).join(", "));
    assert(complaints.length === 0, complaints.slice(0, 3).join(" | "));
  });
} catch (error) {
  failed++;
  console.log(`FAIL  ${error?.stack ?? error}`);
} finally {
  await browser.close();
}

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
