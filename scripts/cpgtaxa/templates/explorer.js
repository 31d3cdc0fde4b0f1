/* The explorer: every CpG of a run, looked at in a browser without a network.

Rows are numbers from 0 in the order of the data in use, which is either what the page holds or, where the folder lies
beside it, every CpG. Columns are typed arrays by row; missing is NaN in floats, 65535 in two bytes and 255 in one. All
text that comes from data reaches the page as text nodes, never as markup. */
"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const about = JSON.parse($("about").textContent);
const TAXA = about.taxa, UNCLASSIFIED = TAXA.length - 1;
const NAMES = about.statistics.map((column) => column.name);
const PLACE = Object.fromEntries(NAMES.map((name, number) => [name, number]));
const AGES = Float64Array.from(about.samples.ages), M = AGES.length;
const ON_SHEET = 24, IN_TABLE = 50, BESIDE = 8, MISSING = 65535, NO_NAME = 255;
const dark = matchMedia("(prefers-color-scheme: dark)");
const SHAPES = {
  circle: "M8 2A6 6 0 1 1 8 14A6 6 0 1 1 8 2Z", square: "M3 3H13V13H3Z", "triangle-up": "M8 2L14.5 13.5H1.5Z",
  "triangle-down": "M8 14L14.5 2.5H1.5Z", diamond: "M8 1L15 8L8 15L1 8Z", cross: "M6 1.5H10V6H14.5V10H10V14.5H6V10H1.5V6H6Z",
  x: "M4 1.5L8 5.5L12 1.5L14.5 4L10.5 8L14.5 12L12 14.5L8 10.5L4 14.5L1.5 12L5.5 8L1.5 4Z",
  star: "M8 1L9.8 6H15L10.8 9.2L12.4 14.5L8 11.3L3.6 14.5L5.2 9.2L1 6H6.2Z", pentagon: "M8 1.5L14.5 6.3L12 14H4L1.5 6.3Z",
  hexagon: "M8 1.2L14 4.6V11.4L8 14.8L2 11.4V4.6Z", "circle-open": "M8 2.5A5.5 5.5 0 1 1 8 13.5A5.5 5.5 0 1 1 8 2.5Z",
};
const BRIGHT = ["#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#999999", "#222255"];
const MARKERS = ["circle", "square", "triangle-up", "diamond", "x", "star", "cross", "pentagon"];

/* --- small things ------------------------------------------------------------------------------------------------ */

function el(tag, settings = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(settings)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "text") made.textContent = value;
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourOf = (code) => (dark.matches ? TAXA[code].dark : TAXA[code].light);
const pause = () => new Promise((done) => setTimeout(done));

function number(value, digits = 3) {
  if (value === null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(digits - 2) : String(Number(value.toPrecision(digits)));
  return text.replace(/-/g, "−").replace("e+", "e");
}

const signed = (value) => (value > 0 ? "+" : "") + number(value);

function mark(code) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", SHAPES[TAXA[code].symbol]);
  const colour = `var(--c-${TAXA[code].name})`;
  path.style.fill = TAXA[code].symbol.endsWith("-open") ? "none" : colour;
  path.style.stroke = TAXA[code].symbol.endsWith("-open") ? colour : "var(--edge)";
  path.style.strokeWidth = TAXA[code].symbol.endsWith("-open") ? "2.5" : ".7";
  svg.append(path);
  return svg;
}

function quantile(ordered, share) {
  const at = share * (ordered.length - 1), low = Math.floor(at), high = Math.min(low + 1, ordered.length - 1);
  return ordered[low] + (at - low) * (ordered[high] - ordered[low]);
}

/* --- data: pieces of text, columns, shards ------------------------------------------------------------------------ */

const waiting = new Map(), columns = new Map(), shards = new Map();
let whole = false; // whether the folder is there and in use
let N = about.n, ids = [];

window.cpgtaxaPiece = (name, text) => { waiting.get(name)?.(text); waiting.delete(name); };

function runScript(source, revoke) {
  return new Promise((done, fail) => {
    const script = document.createElement("script");
    script.onload = () => { script.remove(); if (revoke) URL.revokeObjectURL(source); done(); };
    script.onerror = () => { script.remove(); fail(new Error(`${source} cannot be read`)); };
    script.src = source;
    document.head.append(script);
  });
}

/* A piece of the folder: a script that calls cpgtaxaPiece. */
async function pieceOfFolder(name, file) {
  let text;
  waiting.set(name, (given) => { text = given; });
  await runScript(`${encodeURIComponent(about.companion)}/${file}`);
  if (text === undefined) throw new Error(`${about.companion}/${file} is damaged`);
  return text;
}

function pieceOfPage(name) {
  return Promise.resolve($(`piece-${name}`).textContent);
}

async function bytesOf(text) {
  let packed;
  if (Uint8Array.fromBase64) packed = Uint8Array.fromBase64(text);
  else {
    const plain = atob(text);
    packed = new Uint8Array(plain.length);
    for (let i = 0; i < plain.length; i++) packed[i] = plain.charCodeAt(i);
  }
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* Items whose bytes lie in planes: all first bytes, all second ones … */
function fromPlanes(bytes, Type, start = 0, n = undefined) {
  const size = Type.BYTES_PER_ELEMENT;
  n ??= (bytes.length - start) / size;
  const found = new Uint8Array(n * size);
  for (let plane = 0; plane < size; plane++) {
    const from = start + plane * n;
    for (let i = 0, to = plane; i < n; i++, to += size) found[to] = bytes[from + i];
  }
  return new Type(found.buffer);
}

const TYPES = { taxon: Uint8Array, source: Uint8Array, second_taxon: Uint8Array, reason: Uint8Array, detail: Uint8Array, boundary: Uint8Array, criterion: Uint8Array, disagrees: Uint8Array, rank: Uint32Array, row: Uint32Array, chromosome: Uint8Array, flags: Uint8Array, island: Uint8Array, position: Uint32Array, shape: Uint8Array, cause: Uint8Array, spread_shape: Uint8Array, cell_type: Uint16Array, spread_cell_type: Uint16Array };
const typeOf = (name) => TYPES[name] ?? (name.startsWith("p_") ? Uint16Array : Float32Array);

/* A column by name, as a promise; the array itself, once it is there, is had from `columns`. */
function column(name) {
  if (!columns.has(name)) {
    const promise = makeColumn(name);
    columns.set(name, promise);
    promise.then((array) => columns.set(name, array), () => columns.delete(name));
  }
  return Promise.resolve(columns.get(name));
}

const PLACED = "gene" in about.meanings;
const CELLS = "cell_type" in about.meanings ? ["cell_type", "cell_type_q", "spread_cell_type", "spread_cell_type_q"] : [];

/* Texts by row: ids, genes. */
async function textsOf(name) {
  const text = whole ? await pieceOfFolder(name, `columns/${name}.js`) : await pieceOfPage(name);
  return JSON.parse(new TextDecoder().decode(await bytesOf(text)));
}

async function makeColumn(name) {
  if (name === "gene") return textsOf("gene");
  if (whole) return fromPlanes(await bytesOf(await pieceOfFolder(name, `columns/${name}.js`)), typeOf(name));
  if (!(name in PLACE) && !name.startsWith("p_")) return fromPlanes(await bytesOf(await pieceOfPage(name)), typeOf(name));
  const found = new (typeOf(name))(N);
  for (let start = 0; start < N; start += about.perShard) {
    const part = await shardOf(start);
    const k = part.k, at = name in PLACE ? PLACE[name] : TAXA.findIndex((taxon) => `p_${taxon.name}` === name);
    found.set((name in PLACE ? part.statistics : part.shares).subarray(at * k, (at + 1) * k), start);
  }
  return found;
}

/* The shard with a row: betas (k × samples), statistics (statistic by CpG), shares (taxon by CpG), bands. */
function shardOf(row) {
  const which = Math.floor(row / about.perShard);
  if (!shards.has(which)) {
    const promise = makeShard(which);
    promise.catch(() => shards.delete(which));
    shards.set(which, promise);
    if (whole && shards.size > 60) shards.delete(shards.keys().next().value);
  }
  return shards.get(which);
}

async function makeShard(which) {
  const name = `beta/${which}`;
  const text = await (whole ? pieceOfFolder(name, `beta/${Math.floor(which / 1000)}/${which}.js`) : pieceOfPage(name));
  const bytes = await bytesOf(text), k = Math.min(about.perShard, N - which * about.perShard);
  const ends = [2 * k * M, 4 * k * NAMES.length, 20 * k];
  return {
    k,
    betas: fromPlanes(bytes, Uint16Array, 0, k * M),
    statistics: fromPlanes(bytes, Float32Array, ends[0], k * NAMES.length),
    shares: fromPlanes(bytes, Uint16Array, ends[0] + ends[1], 10 * k),
    bands: bytes.subarray(ends[0] + ends[1] + ends[2]),
  };
}

const KINDS = Object.fromEntries([...about.statistics.map(({ name, kind }) => [name, kind]), ...CELLS.filter((name) => name.endsWith("_q")).map((name) => [name, "log"])]);

/* A statistic as it is meant, from how it is kept. */
const meant = (name, value) => (KINDS[name] === "log" ? 10 ** value : value);
const shareOf = (code) => (code === MISSING ? NaN : code / 1e4);

/* Everything about one CpG. */
async function cpgAt(row) {
  const part = await shardOf(row), at = row % about.perShard;
  const codes = part.betas.subarray(at * M, (at + 1) * M), betas = new Float32Array(M);
  for (let i = 0; i < M; i++) betas[i] = codes[i] === MISSING ? NaN : codes[i] / 1e4 - 1;
  return {
    row, betas, id: ids[row], bands: part.bands[at], taxon: columns.get("taxon")[row],
    source: columns.get("source")[row], second: columns.get("second_taxon")[row], reason: columns.get("reason")[row], detail: columns.get("detail")[row],
    boundary: columns.get("boundary")[row], criterion: columns.get("criterion")[row], disagrees: columns.get("disagrees")[row],
    margin: columns.get("margin")[row], networkP: columns.get("network_p")[row],
    confidence: columns.get("confidence")[row],
    shares: Array.from({ length: 10 }, (_, taxon) => shareOf(part.shares[taxon * part.k + at])),
    statistic: (name) => meant(name, part.statistics[PLACE[name] * part.k + at]),
  };
}

/* --- the lines: what the tests fitted, from their columns ----------------------------------------------------------- */

function fitOf(cpg, wanted = cpg.bands) {
  const s = cpg.statistic, { middle, median, young, old } = about.samples, width = old - young;
  const fit = { n: s("n"), lines: [], outlying: new Set(), middle };
  if (!wanted || !Number.isFinite(s("slope"))) return fit;
  if (wanted > 1 && Number.isFinite(s(`bic${wanted}`)) && width > 0) {
    const name = wanted === 3 ? "three" : "two";
    fit.lines = (wanted === 3 ? ["low", "mid", "high"] : ["low", "high"]).map((band) => {
      const of = (what) => s(`${name}_${what}_${band}`), sd = of("band_sd");
      return { slope: of("effect") / width, level: of("level"), share: of("share"), sd: () => sd };
    });
    return fit;
  }
  if (s("outlier_n") > 0) { // beyond Tukey's fences, as the tests'
    const rows = Array.from(cpg.betas.keys()).filter((i) => !Number.isNaN(cpg.betas[i]));
    const left = rows.map((i) => cpg.betas[i] - s("slope") * AGES[i]), sorted = Float64Array.from(left).sort();
    const low = quantile(sorted, 0.25), high = quantile(sorted, 0.75), reach = 3 * (high - low) + 0.05;
    rows.forEach((row, at) => { if (left[at] < low - reach || left[at] > high + reach) fit.outlying.add(row); });
  }
  const slope = Number.isFinite(s("core_slope")) ? s("core_slope") : s("slope");
  const level = s("outlier_n") > 0 ? s("median") + slope * (middle - median) : s("mean"); // the mean is the outliers' too
  const ratio = Math.min(Math.max(Math.exp(s("log_sd_ratio") || 0), 0.05), 20), sd = s("core_sd") || 0, grows = width > 0 ? (ratio - 1) / width : 0;
  const base = sd / Math.max(1 + grows * (middle - young), 1e-6); // at the mean age it is the tests' sd
  fit.lines = [{ slope, level, share: 1, sd: (age) => Math.max(base * (1 + grows * (age - young)), 0) }];
  return fit;
}

function rangeOf(betas, own) {
  if (!own) return [-0.02, 1.02];
  let low = Infinity, high = -Infinity;
  for (const beta of betas) { if (beta < low) low = beta; if (beta > high) high = beta; }
  if (low > high) return [-0.02, 1.02];
  const room = Math.max(0.025 - (high - low) / 2, 0.06 * (high - low));
  return [low - room, high + room];
}

let YOUNGEST = Infinity, OLDEST = -Infinity;
for (const age of AGES) { YOUNGEST = Math.min(YOUNGEST, age); OLDEST = Math.max(OLDEST, age); }
if (YOUNGEST === OLDEST) { YOUNGEST -= 1; OLDEST += 1; }

/* --- small pictures ------------------------------------------------------------------------------------------------ */

function drawSmall(canvas, cpg, own) {
  const width = canvas.clientWidth || 190, height = canvas.clientHeight || 104, scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const [low, high] = rangeOf(cpg.betas, own);
  const left = 3, right = width - 3, top = 3, bottom = height - 3;
  const atX = (age) => left + ((age - YOUNGEST) / (OLDEST - YOUNGEST)) * (right - left);
  const atY = (beta) => bottom - ((beta - low) / (high - low)) * (bottom - top);
  pen.strokeStyle = css("--line");
  pen.lineWidth = 1;
  for (const beta of own ? [low, high] : [0, 0.5, 1]) {
    const y = Math.round(atY(beta)) + 0.5;
    pen.beginPath();
    pen.moveTo(left, y);
    pen.lineTo(right, y);
    pen.stroke();
  }
  // Lines go beneath: a very narrow band would vanish behind its own.
  const fit = fitOf(cpg);
  pen.strokeStyle = css("--ink");
  for (const line of fit.lines) {
    pen.beginPath();
    pen.moveTo(atX(YOUNGEST), atY(line.level + line.slope * (YOUNGEST - fit.middle)));
    pen.lineTo(atX(OLDEST), atY(line.level + line.slope * (OLDEST - fit.middle)));
    pen.stroke();
  }
  pen.fillStyle = cpg.taxon === UNCLASSIFIED ? css("--edge") : colourOf(cpg.taxon);
  pen.globalAlpha = M > 400 ? 0.7 : 0.85;
  const size = M > 400 ? 1.8 : 2.2;
  for (let i = 0; i < M; i++) if (!Number.isNaN(cpg.betas[i])) pen.fillRect(atX(AGES[i]) - size / 2, atY(cpg.betas[i]) - size / 2, size, size);
  pen.globalAlpha = 1;
}

/* A CpG as a small picture that opens it. */
function tile(row, extra = "") {
  const canvas = el("canvas", { "aria-hidden": "true" });
  const taxon = columns.get("taxon")[row], confidence = columns.get("confidence")[row];
  const button = el(
    "button", { type: "button", onclick: () => open(row), title: ids[row] },
    el("b", { text: ids[row] }), el("span", { className: "quiet", text: extra || (Number.isNaN(confidence) ? "" : confidence.toFixed(2)) }),
    mark(taxon), el("span", { text: ` ${TAXA[taxon].name}` }), canvas,
  );
  button.setAttribute("aria-current", String(state.row === row));
  button.dataset.row = row;
  return { item: el("li", {}, button), canvas, row };
}

async function drawTiles(tiles, own, still = () => true) {
  for (const { canvas, row } of tiles) {
    const cpg = await cpgAt(row);
    if (!still()) return;
    drawSmall(canvas, cpg, own);
  }
}

/* --- state, and the address that holds it -------------------------------------------------------------------------- */

const START = { taxa: null, sources: null, low: "", high: "", second: "", reason: "", detail: "", boundary: "", disagrees: "", shape: "", cause: "", cell: "", spread: "", gene: "", chromosome: "", island: "", flag: "", conditions: [], list: null, sort: "", view: "sheet", page: 0, cpg: "" };
const SHOWN = ["taxon", ...(PLACED ? ["gene", "chromosome", "position"] : []), "confidence", "source", "second_taxon", "boundary", "margin", "core_effect", "core_sd"];
const state = { ...structuredClone(START), row: -1, hits: new Uint32Array(0), shown: [...SHOWN], chosen: null, chosenCount: 0, last: -1 };
let known = null; // id → row, made when first asked for
let asked = 0, opened = 0; // the latest filtering and opening: what comes later than another is dropped

const TEXTS = ["low", "high", "second", "reason", "detail", "boundary", "disagrees", "shape", "cause", "cell", "spread", "gene", "chromosome", "island", "flag", "sort", "cpg"];

function address() {
  const found = new URLSearchParams();
  if (state.taxa) found.set("taxon", [...state.taxa].map((code) => TAXA[code].name).join(","));
  if (state.sources) found.set("source", [...state.sources].map((code) => about.sources[code].name).join(","));
  for (const key of TEXTS) if (state[key]) found.set(key, state[key]);
  for (const { name, low, high, missing } of state.conditions) found.append("s", [name, low, high, missing ? "missing" : ""].join("~"));
  if (state.list && state.list.length <= 100) found.set("list", state.list.join("\n"));
  if (state.view !== START.view) found.set("view", state.view);
  if (state.page) found.set("page", state.page + 1);
  const text = found.toString();
  return text ? `#${text}` : "#";
}

/* Written into the address; `step` makes a new entry in the history. */
function remember(step) {
  const now = address();
  if (now === (location.hash || "#")) return;
  try { history[step ? "pushState" : "replaceState"](null, "", now); } catch { location.hash = now; }
}

function recall() {
  const found = new URLSearchParams(location.hash.slice(1));
  const codes = (text, names) => text === null ? null : new Set(text.split(",").map((name) => names.findIndex((one) => one.name === name)).filter((code) => code >= 0));
  Object.assign(state, structuredClone(START), { taxa: codes(found.get("taxon"), TAXA), sources: codes(found.get("source"), about.sources) });
  for (const key of TEXTS) state[key] = found.get(key) ?? "";
  if (!TAXA.some((taxon) => taxon.name === state.second)) state.second = "";
  if (!about.reasons.some((reason) => reason.name === state.reason)) state.reason = "";
  if (state.detail !== ONE_OPEN && !about.details.some(({ name }) => name === state.detail)) state.detail = "";
  if (state.boundary !== "clear" && !about.boundaries.some(({ name }) => name === state.boundary)) state.boundary = "";
  if (!about.shapes.some(({ name }) => name === state.shape)) state.shape = "";
  if (!about.causes.some(({ name }) => name === state.cause)) state.cause = "";
  for (const key of ["cell", "spread"]) if (!IN_CELLS.some(([value]) => value === state[key])) state[key] = "";
  if (!about.chromosomes.some(({ name }) => name === state.chromosome)) state.chromosome = "";
  if (!about.islands.some(({ name }) => name === state.island)) state.island = "";
  if (state.flag !== NO_FLAG && !FLAGS.includes(state.flag)) state.flag = "";
  if (!PLACED) state.gene = "";
  if (!["yes", "no"].includes(state.disagrees)) state.disagrees = "";
  if (state.sort && (!isColumn(state.sort.replace(/^-/, "")) || state.sort.endsWith("gene"))) state.sort = "";
  state.conditions = found.getAll("s").map((text) => text.split("~")).filter(([name]) => FILTERED.some((one) => one.name === name))
    .map(([name, low = "", high = "", missing]) => ({ name, low, high, missing: missing === "missing" }));
  state.list = found.has("list") ? found.get("list").split("\n") : null;
  state.view = ["sheet", "table", "map"].includes(found.get("view")) ? found.get("view") : START.view;
  state.page = Math.max((parseInt(found.get("page"), 10) || 1) - 1, 0);
}

const CODED = ["taxon", "source", "second_taxon", "reason", "detail", "boundary", "criterion", "disagrees", "shape", "cause", "spread_shape"];
const NUMBERS = ["confidence", "margin", "network_p", "replication", "change_point", "spread_change_point"];
const PLACES = PLACED ? ["chromosome", "position", "gene", "island", "flags"] : [];
const FILTERED = [...about.statistics, ...TAXA.slice(0, 10).map(({ name }) => ({ name: `p_${name}`, kind: "share", meaning: `the network's probability of ${name}` }))];
const MEANS = { cpg: "the CpG's id", ...about.meanings, ...Object.fromEntries(FILTERED.map(({ name, meaning }) => [name, meaning])) };
const ONE_OPEN = "one open question";
const FACETS = ["taxon", "source", "second_taxon", "reason", "detail", "boundary", "disagrees", "shape", "cause", ...(CELLS.length ? ["cell_type", "spread_cell_type"] : []), ...(PLACED ? ["chromosome", "island", "flags"] : [])];
const FLAGS = [...new Set(about.flags.flatMap(({ name }) => name.split(";")))].sort(), NO_FLAG = "none of them";
const codesOfFlag = (flag) => (flag === NO_FLAG ? [NO_NAME] : [...about.flags.keys()].filter((code) => about.flags[code].name.split(";").includes(flag)));
const UNDECIDED = "undecided", NO_CELL = "none";
const IN_CELLS = CELLS.length ? [...about.cellTypes.map((name) => [`in ${name}`, name]), [UNDECIDED, "undecided: no type is shown to differ"], [NO_CELL, "in none"]] : []; // values, and how they are shown
const codesOfCell = (value) => (value === NO_CELL ? [MISSING] : [...about.cellsSaid.keys()].filter((code) => (value === UNDECIDED ? about.cellsSaid[code].name === UNDECIDED : about.cellsSaid[code].name.split("|").includes(value.slice(3)))));
const isColumn = (name) => name === "cpg" || name in MEANS;

/* --- filter, sort -------------------------------------------------------------------------------------------------- */

const bound = (text, otherwise) => { const value = parseFloat(text); return Number.isNaN(value) ? otherwise : value; };

/* A bound in the units in which a column is kept. */
function keptBound(name, value) {
  if (name.startsWith("p_")) return value * 1e4;
  return Math.fround(KINDS[name] === "log" ? (value > 0 ? Math.log10(value) : -Infinity) : value);
}

async function filter() {
  const turn = ++asked;
  const wanted = state.conditions.filter(({ low, high, missing }) => missing || low !== "" || high !== "");
  await Promise.all(wanted.map(({ name }) => column(name)));
  if (turn !== asked) return false;
  // Bit by bit which filters a row misses: those of FACETS in their order, then all others.
  const missed = new Uint16Array(N), rest = 1 << FACETS.length, keep = new Uint8Array(N).fill(1);
  const among = (values, allowed, facet) => { const bit = 1 << FACETS.indexOf(facet); for (let i = 0; i < N; i++) if (!allowed[values[i]]) missed[i] |= bit; };
  const table = (codes) => { const found = new Uint8Array(65536); for (const code of codes) found[code] = 1; return found; };
  if (state.taxa) among(columns.get("taxon"), table(state.taxa), "taxon");
  if (state.sources) among(columns.get("source"), table(state.sources), "source");
  if (state.second) among(columns.get("second_taxon"), table([TAXA.findIndex(({ name }) => name === state.second)]), "second_taxon");
  if (state.reason) among(columns.get("reason"), table([about.reasons.findIndex(({ name }) => name === state.reason)]), "reason");
  if (state.detail) among(columns.get("detail"), table([...about.details.keys()].filter((code) => (state.detail === ONE_OPEN ? about.details[code].open === 1 : about.details[code].name === state.detail))), "detail");
  if (state.boundary) among(columns.get("boundary"), table([state.boundary === "clear" ? NO_NAME : about.boundaries.findIndex(({ name }) => name === state.boundary)]), "boundary");
  if (state.disagrees) among(columns.get("disagrees"), table([state.disagrees === "yes" ? 1 : 0]), "disagrees");
  for (const key of ["shape", "cause"]) if (state[key]) among(columns.get(key), table([about[`${key}s`].findIndex(({ name }) => name === state[key])]), key);
  if (state.cell) among(columns.get("cell_type"), table(codesOfCell(state.cell)), "cell_type");
  if (state.spread) among(columns.get("spread_cell_type"), table(codesOfCell(state.spread)), "spread_cell_type");
  if (state.chromosome) among(columns.get("chromosome"), table([about.chromosomes.findIndex(({ name }) => name === state.chromosome)]), "chromosome");
  if (state.island) among(columns.get("island"), table([about.islands.findIndex(({ name }) => name === state.island)]), "island");
  if (state.flag) among(columns.get("flags"), table(codesOfFlag(state.flag)), "flags");
  if (state.gene.trim()) {
    const listed = new Uint8Array(N);
    for (const gene of state.gene.toUpperCase().split(/[\s,;]+/).filter(Boolean)) for (const row of rowsOfGene().get(gene) ?? []) listed[row] = 1;
    for (let i = 0; i < N; i++) keep[i] &= listed[i];
  }
  const within = (name, values, low, high) => {
    low = keptBound(name, low); high = keptBound(name, high);
    const share = name.startsWith("p_");
    for (let i = 0; i < N; i++) { const value = values[i]; if (!(value >= low && value <= high) || (share && value === MISSING)) keep[i] = 0; }
  };
  if (state.low !== "" || state.high !== "") within("confidence", columns.get("confidence"), bound(state.low, -Infinity), bound(state.high, Infinity));
  for (const { name, low, high, missing } of wanted) {
    const values = columns.get(name);
    if (missing) for (let i = 0; i < N; i++) keep[i] &= name.startsWith("p_") ? values[i] === MISSING : Number.isNaN(values[i]);
    else within(name, values, name.startsWith("p_") || KINDS[name] !== "log" ? bound(low, -Infinity) : bound(low, 0), bound(high, Infinity));
  }
  if (state.list) {
    const { found } = looked(state.list), listed = new Uint8Array(N);
    for (const row of found) listed[row] = 1;
    for (let i = 0; i < N; i++) keep[i] &= listed[i];
  }
  let n = 0;
  for (let i = 0; i < N; i++) {
    if (!keep[i]) missed[i] |= rest;
    if (missed[i]) keep[i] = 0; else n += 1;
  }
  showCounts(missed);
  const hits = new Uint32Array(n);
  for (let i = 0, at = 0; i < N; i++) if (keep[i]) hits[at++] = i;
  state.hits = hits;
  return sort(turn);
}

/* Of every value of a facet, how many CpGs meet all the other filters. */
function showCounts(missed) {
  FACETS.forEach((facet, at) => {
    const values = columns.get(facet), others = ~(1 << at), counts = new Uint32Array(values instanceof Uint16Array ? 65536 : 256);
    for (let i = 0; i < N; i++) if (!(missed[i] & others)) counts[values[i]] += 1;
    COUNTED[facet](counts);
  });
}

async function sort(turn = ++asked) {
  if (!state.sort) { state.hits = state.hits.slice().sort(); return true; }
  const down = state.sort.startsWith("-"), name = state.sort.replace(/^-/, "");
  const values = await column(name === "cpg" ? "rank" : name);
  if (turn !== asked) return false;
  state.hits = sorted(state.hits.slice().sort(), values, down);
  return true;
}

/* Rows in the order of a column, missing last, equal ones as they were: radix sort of the numbers' bits. */
function sorted(rows, values, down) {
  const n = rows.length, float = values instanceof Float32Array;
  const bits = float ? new Uint32Array(values.buffer, values.byteOffset, values.length) : values;
  const none = values instanceof Uint16Array ? MISSING : values instanceof Uint8Array ? NO_NAME : -1;
  let keys = new Uint32Array(n), order = rows, spareKeys = new Uint32Array(n), spare = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    let key = bits[rows[i]];
    if (float ? Number.isNaN(values[rows[i]]) : key === none) { keys[i] = 0xffffffff; continue; }
    if (float) key = key & 0x80000000 ? ~key >>> 0 : (key | 0x80000000) >>> 0;
    keys[i] = down ? 0xfffffffe - key : key;
  }
  for (const shift of [0, 16]) {
    const starts = new Uint32Array(65537);
    for (let i = 0; i < n; i++) starts[((keys[i] >>> shift) & 0xffff) + 1]++;
    for (let i = 0; i < 65536; i++) starts[i + 1] += starts[i];
    for (let i = 0; i < n; i++) {
      const to = starts[(keys[i] >>> shift) & 0xffff]++;
      spare[to] = order[i];
      spareKeys[to] = keys[i];
    }
    [keys, spareKeys, order, spare] = [spareKeys, keys, spare, order === rows ? new Uint32Array(n) : order];
  }
  return order;
}

/* Rows by gene, in capitals; made when first asked for. */
let ofGene = null;
function rowsOfGene() {
  if (ofGene) return ofGene;
  ofGene = new Map();
  (PLACED ? columns.get("gene") : []).forEach((text, row) => {
    if (!text) return;
    for (const gene of text.toUpperCase().split(";")) { const rows = ofGene.get(gene); if (rows) rows.push(row); else ofGene.set(gene, [row]); }
  });
  return ofGene;
}

/* Rows of ids, and the ids that are not there. */
function looked(names) {
  known ??= new Map(ids.map((id, row) => [id, row]));
  const found = [], unknown = [];
  for (const name of names) {
    const row = known.get(name) ?? known.get(name.toLowerCase());
    if (row === undefined) unknown.push(name); else found.push(row);
  }
  return { found, unknown };
}

/* --- views --------------------------------------------------------------------------------------------------------- */

const pageSize = () => (state.view === "table" ? IN_TABLE : ON_SHEET);
const pageRows = () => state.hits.subarray(state.page * pageSize(), (state.page + 1) * pageSize());

/* Filter, then show; what a change of the filters calls. */
async function refresh(step = false) {
  if (!(await filter())) return;
  await show(step);
}

async function show(step = false) {
  const pages = Math.max(Math.ceil(state.hits.length / pageSize()), 1);
  state.page = Math.min(state.page, pages - 1);
  remember(step);
  $("count").textContent = state.hits.length === N ? `All ${count(N, "CpG")}` : `${count(state.hits.length, "CpG")} of ${N.toLocaleString("en")}`;
  for (const view of ["sheet", "table", "map"]) $(`view-${view}`).hidden = state.view !== view;
  for (const button of document.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
  $("pages").hidden = state.view === "map" || pages < 2;
  $("page-now").textContent = `Page ${(state.page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
  $("page-before").disabled = state.page === 0;
  $("page-after").disabled = state.page === pages - 1;
  $("export").disabled = $("copy").disabled = !exported().length;
  if (state.view === "sheet") await showSheet();
  if (state.view === "table") await showTable();
  if (state.view === "map") await showMap();
}

async function showSheet() {
  const turn = asked, by = state.sort.replace(/^-/, "");
  const tiles = Array.from(pageRows(), (row) => tile(row, ["", "cpg", "taxon", "confidence"].includes(by) ? "" : `${by} ${cellOf(by, row).textContent.trim()}`));
  $("sheet").replaceChildren(...tiles.map(({ item }) => item));
  if (!tiles.length) $("sheet").replaceChildren(el("li", { className: "empty", text: "No CpG meets all conditions." }));
  $("sheet-sort").value = state.sort.replace(/^-/, "");
  $("sheet-down").checked = state.sort.startsWith("-");
  await drawTiles(tiles, $("own-range").checked, () => turn === asked && state.view === "sheet");
  if (!performance.getEntriesByName("explorer-first-picture").length) performance.mark("explorer-first-picture");
}

function cellOf(name, row) {
  const value = columns.get(name)[row];
  if (name === "taxon") return el("td", {}, mark(value), ` ${TAXA[value].name}`);
  if (name === "source") return el("td", { text: about.sources[value].name });
  if (name === "second_taxon") return el("td", { text: value === NO_NAME ? "–" : TAXA[value].name });
  if (name === "detail") return el("td", { text: value === NO_NAME ? "–" : about.details[value].name });
  if (name === "reason") return el("td", { text: value === NO_NAME ? "–" : about.reasons[value].name });
  if (name === "boundary" || name === "criterion") return el("td", { text: value === NO_NAME ? "–" : about.boundaries[value].name });
  if (name === "disagrees") return el("td", { text: value ? "yes" : "no" });
  if (name === "gene") return el("td", { text: value.split(";").slice(0, 3).join(", ") + (value.split(";").length > 3 ? " …" : "") || "–" });
  if (name === "spread_shape") return el("td", { text: value === NO_NAME ? "–" : about.shapes[value].name });
  if (["shape", "cause", "chromosome", "island"].includes(name)) return el("td", { text: value === NO_NAME ? "–" : about[`${name}s`][value].name });
  if (name === "flags") return el("td", { text: value === NO_NAME ? "–" : about.flags[value].name.replaceAll(";", ", ") });
  if (name === "cell_type" || name === "spread_cell_type") return el("td", { text: value === MISSING ? "–" : about.cellsSaid[value].name.replaceAll("|", ", ") });
  if (name === "position") return el("td", { className: "n", text: value ? value.toLocaleString("en") : "–" });
  if (name.endsWith("change_point")) return el("td", { className: "n", text: number(value) });
  const share = NUMBERS.includes(name) ? value : name.startsWith("p_") ? shareOf(value) : null;
  if (share !== null) return el("td", { className: "n", text: Number.isNaN(share) ? "–" : share.toFixed(3) });
  return el("td", { className: "n", text: KINDS[name] === "yes" ? (value ? "yes" : "no") : number(meant(name, value)) });
}

async function showTable() {
  const turn = asked;
  const by = state.sort.replace(/^-/, ""), shown = by && by !== "cpg" && !state.shown.includes(by) ? [...state.shown, by] : state.shown;
  await Promise.all(shown.map(column));
  if (turn !== asked || state.view !== "table") return;
  const heads = ["cpg", ...shown].map((name) => {
    if (name === "gene") return el("th", { scope: "col", title: MEANS[name], text: name });
    const numeric = isNumeric(name), current = state.sort.replace(/^-/, "") === name;
    const way = current ? (state.sort.startsWith("-") ? "descending" : "ascending") : null;
    const button = el("button", { type: "button", title: MEANS[name], text: (name === "cpg" ? "CpG" : name) + (way ? (way === "ascending" ? " ↑" : " ↓") : ""), onclick: () => sortBy(name) });
    button.dataset.sort = name;
    const head = el("th", { scope: "col", className: numeric ? "n" : "" }, button);
    if (way) head.setAttribute("aria-sort", way);
    return head;
  });
  const rows = Array.from(pageRows(), (row, at) => {
    const tick = el("input", { type: "checkbox", checked: Boolean(state.chosen[row]), "aria-label": `select ${ids[row]}` });
    tick.addEventListener("click", (event) => chooseRow(row, tick.checked, event.shiftKey));
    const name = el("button", { type: "button", className: "plain", text: ids[row], title: ids[row], onclick: () => open(row) });
    name.dataset.at = at;
    const line = el("tr", {}, el("td", {}, tick), el("th", { scope: "row" }, name), ...shown.map((column) => cellOf(column, row)));
    line.dataset.row = row;
    line.className = rowClass(row);
    return line;
  });
  const focused = document.activeElement?.dataset?.sort;
  $("table").tHead.replaceChildren(el("tr", {}, el("td", {}, el("span", { className: "skip", text: "selected" })), ...heads));
  $("table").tBodies[0].replaceChildren(...rows);
  if (!rows.length) $("table").tBodies[0].append(el("tr", {}, el("td", { colSpan: heads.length + 1, className: "empty", text: "No CpG meets all conditions." })));
  if (focused) $("table").querySelector(`[data-sort="${focused}"]`)?.focus();
}

const isNumeric = (name) => name !== "cpg" && !CODED.includes(name) && !["cell_type", "spread_cell_type", "chromosome", "island", "flags"].includes(name);

const rowClass = (row) => `${state.chosen[row] ? "chosen" : ""} ${row === state.row ? "current" : ""}`.trim();

function sortBy(name) {
  const numeric = isNumeric(name);
  const first = numeric ? `-${name}` : name, second = numeric ? name : `-${name}`;
  state.sort = state.sort === first ? second : state.sort === second ? "" : first;
  resort();
}

async function resort() {
  state.page = 0;
  if (await sort()) await show();
}

/* Arrow keys go from row to row, space selects, Enter (the button's own) opens. */
function tableKeys(event) {
  const at = event.target.dataset?.at;
  if (at === undefined) return;
  const buttons = [...$("table").querySelectorAll("[data-at]")];
  const to = { ArrowDown: Number(at) + 1, ArrowUp: Number(at) - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to !== undefined && buttons[to]) { event.preventDefault(); buttons[to].focus(); }
  if (event.key === " ") {
    event.preventDefault();
    const row = Number(event.target.closest("tr").dataset.row);
    chooseRow(row, !state.chosen[row], event.shiftKey);
  }
}

/* --- selection, export --------------------------------------------------------------------------------------------- */

function choose(row, on) {
  if (Boolean(state.chosen[row]) === on) return;
  state.chosen[row] = on ? 1 : 0;
  state.chosenCount += on ? 1 : -1;
}

/* With shift, all rows between the last one ticked and this one get its answer. */
function chooseRow(row, on, range) {
  const from = range ? state.hits.indexOf(state.last) : -1, to = state.hits.indexOf(row);
  if (from >= 0) for (let at = Math.min(from, to); at <= Math.max(from, to); at++) choose(state.hits[at], on);
  choose(row, on);
  state.last = row;
  showChosen();
}

function showChosen() {
  $("chosen").textContent = state.chosenCount ? `${count(state.chosenCount, "CpG")} selected` : "Nothing selected";
  $("choose-none").hidden = !state.chosenCount;
  for (const line of $("table").tBodies[0].rows) {
    if (line.dataset.row === undefined) continue;
    line.className = rowClass(Number(line.dataset.row));
    line.querySelector("input").checked = Boolean(state.chosen[line.dataset.row]);
  }
  $("detail-chosen").checked = state.row >= 0 && Boolean(state.chosen[state.row]);
  $("export").disabled = $("copy").disabled = !exported().length;
}

/* Rows to export or copy: the hits in their order, or the selection in theirs. */
function exported() {
  if ($("which").value === "hits") return state.hits;
  const found = new Uint32Array(state.chosenCount);
  for (let row = 0, at = 0; row < N; row++) if (state.chosen[row]) found[at++] = row;
  return found;
}

/* Text for a CSV: quoted where it must be. What a spreadsheet would run as a formula gets an apostrophe before it. */
function csvText(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csvNumber(name, raw) {
  if (name.startsWith("p_")) return raw === MISSING ? "" : String(raw / 1e4);
  if (Number.isNaN(raw)) return "";
  if (KINDS[name] === "yes") return raw ? "True" : "False";
  const value = meant(name, raw);
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  return String(Number(value.toPrecision(KINDS[name] === "log" ? 6 : 7)));
}

async function exportCsv() {
  const rows = exported(), names = [...PLACES, ...CODED.slice(0, 2), ...NUMBERS, ...CODED.slice(2), ...CELLS, ...TAXA.slice(0, 10).map(({ name }) => `p_${name}`), ...NAMES];
  $("export").disabled = true;
  $("work").textContent = "Reading the columns …";
  const values = await Promise.all(names.map(column));
  const words = { taxon: TAXA, source: about.sources, second_taxon: TAXA, reason: about.reasons, detail: about.details, boundary: about.boundaries, criterion: about.boundaries, disagrees: [{ name: "no" }, { name: "yes" }], shape: about.shapes, cause: about.causes, spread_shape: about.shapes, cell_type: about.cellsSaid, spread_cell_type: about.cellsSaid, chromosome: about.chromosomes, island: about.islands, flags: about.flags };
  const parts = [`cpg,${names.join(",")}\n`];
  let altered = 0;
  for (let start = 0; start < rows.length; start += 5000) {
    const lines = [];
    for (const row of rows.subarray(start, start + 5000)) {
      const id = csvText(ids[row]);
      if (/^"?'[=+\-@\t\r]/.test(id) && !ids[row].startsWith("'")) altered += 1;
      const cells = names.map((name, at) => {
        const raw = values[at][row];
        if (name === "gene") return csvText(raw);
        if (name === "position") return raw ? String(raw) : "";
        return words[name] ? (raw === (values[at] instanceof Uint16Array ? MISSING : NO_NAME) ? "" : csvText(words[name][raw].name)) : csvNumber(name, raw);
      });
      lines.push(`${id},${cells.join(",")}\n`);
    }
    parts.push(lines.join(""));
    $("work").textContent = `Writing ${count(Math.min(start + 5000, rows.length), "CpG")} of ${rows.length.toLocaleString("en")} …`;
    await pause();
  }
  download(new Blob(parts, { type: "text/csv" }), "cpgs.csv");
  const note = altered ? ` ${count(altered, "id")} that a spreadsheet would run as a formula begin${altered === 1 ? "s" : ""} with an apostrophe.` : "";
  $("work").textContent = `${count(rows.length, "CpG")} written to cpgs.csv.${note}`;
  $("export").disabled = false;
}

function download(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function copyText(text, what) {
  try { await navigator.clipboard.writeText(text); }
  catch {
    const area = el("textarea", { value: text, "aria-label": "to copy" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  $("work").textContent = `${what} copied.`;
}

/* --- one CpG ------------------------------------------------------------------------------------------------------- */

let plotly = null;

/* plotly.js lies packed in the page, and is unpacked when the first plot is wanted. */
function withPlotly() {
  plotly ??= (async () => {
    const code = new Blob([await bytesOf($("plotly").textContent)], { type: "text/javascript" });
    await runScript(URL.createObjectURL(code), true);
    return window.Plotly;
  })();
  return plotly;
}

/* Plotly reads some markup in texts: data's own is shown as it stands. */
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const faint = (colour, share) => colour + Math.round(share * 255).toString(16).padStart(2, "0");

function layoutOf(more = {}) {
  const axis = { gridcolor: css("--line"), linecolor: css("--edge"), zeroline: false, ticks: "outside", tickcolor: css("--edge"), fixedrange: false };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12, color: css("--ink") },
    margin: { l: 48, r: 10, t: 10, b: 42 }, hovermode: "closest", showlegend: false, legend: { orientation: "h", y: 1.14, x: 0 },
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--edge"), font: { color: css("--ink") } },
    xaxis: { ...axis, title: { text: "age (years)" }, ...more.xaxis }, yaxis: { ...axis, title: { text: "beta" }, ...more.yaxis },
  };
}

async function open(row, step = true) {
  state.row = row;
  state.cpg = ids[row];
  const turn = ++opened, before = !$("detail").hidden;
  remember(step);
  $("detail").hidden = false;
  $("layout").classList.add("open");
  const cpg = await cpgAt(row);
  if (turn !== opened) return;
  $("detail-name").textContent = cpg.id;
  $("detail-taxon").replaceChildren(mark(cpg.taxon), ...verdict(cpg));
  $("detail-place").textContent = placeOf(row);
  $("detail-place").hidden = !placeOf(row);
  $("detail-pattern").textContent = patternOf(row);
  showShares(cpg);
  showStatistics(cpg);
  for (const button of document.querySelectorAll(".sheet [aria-current]")) button.setAttribute("aria-current", String(Number(button.dataset.row) === row));
  showChosen();
  const at = state.hits.indexOf(row);
  $("detail-before").disabled = at <= 0;
  $("detail-after").disabled = at < 0 || at === state.hits.length - 1;
  if (step) { $("detail-name").focus({ preventScroll: true }); if (!before || matchMedia("(max-width: 76rem)").matches) $("detail").scrollIntoView({ block: "nearest" }); $("detail").scrollTop = 0; }
  if (!before) redrawTiles();
  if (state.view === "map") showMap();
  await showPlot(cpg, turn);
  performance.mark("explorer-opened");
  if (turn === opened) await showBeside(cpg, turn);
}

function close(step = true) {
  const row = state.row;
  opened += 1;
  state.row = -1;
  state.cpg = "";
  $("detail").hidden = true;
  $("layout").classList.remove("open");
  remember(step);
  showChosen();
  redrawTiles();
  if (state.view === "map") showMap();
  const back = document.querySelector(`#results [data-row="${row}"]`);
  (back?.querySelector("[data-at]") ?? back)?.focus();
  for (const button of document.querySelectorAll(".sheet [aria-current]")) button.setAttribute("aria-current", "false");
}

/* Where a CpG lies, in words; empty where that is not known. */
function placeOf(row) {
  if (!PLACED) return "";
  const [chromosome, position, gene, island, flags] = PLACES.map((name) => columns.get(name)[row]);
  const at = chromosome === NO_NAME ? "" : `${about.chromosomes[chromosome].name}${position ? `:${position.toLocaleString("en")}` : ""}`;
  return [at, gene.replaceAll(";", ", "), island === NO_NAME ? "" : about.islands[island].name.replaceAll("_", " "), flags === NO_NAME ? "" : about.flags[flags].name.replaceAll(";", ", ").replaceAll("_", " ")].filter(Boolean).join(" · ");
}

/* How a CpG changes, why it has bands, and whether another cohort would agree, in words. */
function patternOf(row) {
  const of = (name) => columns.get(name)[row], said = [];
  for (const [what, key] of [["Shape", ""], ["Spread, experimental", "spread_"]]) {
    if (of(`${key}shape`) === NO_NAME) continue;
    const { name, meaning } = about.shapes[of(`${key}shape`)], at = of(`${key}change_point`);
    said.push(`${what}: ${name.replaceAll("_", " ")}${Number.isNaN(at) ? "" : `, change point ${number(at)} years`} (${meaning}).`);
  }
  if (of("cause") !== NO_NAME) said.push(`Bands: ${about.causes[of("cause")].name} (${about.causes[of("cause")].meaning}).`);
  if (!Number.isNaN(of("replication"))) said.push(`Another such cohort gives the same taxon with probability ${of("replication").toFixed(2)}.`);
  if (CELLS.length) said.push(...cellsOf(row));
  return said.join(" ");
}

/* Whose cells change, in sentences. */
function cellsOf(row) {
  const change = (name, none) => {
    const code = columns.get(name)[row], q = columns.get(`${name}_q`)[row];
    if (Number.isNaN(q) || (code === MISSING && !none)) return "";
    const types = code === MISSING ? "" : about.cellsSaid[code].name;
    const said = types === UNDECIDED ? "change with age, but no type is shown to differ" : types ? `change with age in ${types.split("|").join(" and ")}` : none;
    const whose = types && types !== UNDECIDED ? "q" : "smallest q of a type";
    return `${said} (${whose} ${number(meant(`${name}_q`, q))}).`;
  };
  const cells = change("cell_type", "no type is shown to change with age"), spread = change("spread_cell_type", "");
  return [cells && `Cells: ${cells}`, spread && `Spread of the cells, experimental: ${spread}`].filter(Boolean);
}

function verdict(cpg) {
  const source = about.sources[cpg.source].name, sure = Number.isNaN(cpg.confidence) ? "" : ` (confidence ${cpg.confidence.toFixed(3)})`;
  const second = cpg.second === NO_NAME || Number.isNaN(cpg.shares[cpg.second]) ? "" : ` Second: ${TAXA[cpg.second].name} (${cpg.shares[cpg.second].toFixed(3)}).`;
  const name = el("b", { text: ` ${TAXA[cpg.taxon].name}` });
  const criterion = cpg.criterion === NO_NAME ? "" : about.boundaries[cpg.criterion].name.replaceAll("_", " ");
  const decides = !criterion ? "" : cpg.boundary === NO_NAME ? ` Nearest criterion: ${criterion}, margin ${number(cpg.margin, 2)}.` : ` Boundary CpG: ${criterion}, margin ${number(cpg.margin, 2)}.`;
  if (cpg.taxon === UNCLASSIFIED) {
    const said = cpg.detail === NO_NAME ? "" : ` ${about.ownLabels ? "Labels" : "By the tests"}: ${about.details[cpg.detail].name}.`;
    if (Number.isNaN(cpg.networkP)) return [name, `, and no network looked at it.${said}`];
    const reason = cpg.reason === NO_NAME ? "" : `: ${about.reasons[cpg.reason].name}, ${about.reasons[cpg.reason].meaning}`;
    const best = cpg.shares.indexOf(Math.max(...cpg.shares));
    return [name, `${reason}.${said} The network's first: ${TAXA[best].name} (${cpg.shares[best].toFixed(3)}).${second}${decides}`];
  }
  const by = source === "statistical" ? (about.ownLabels ? "taxa.labels" : "the statistical rules") : source.replace(/^round_(\d+)$/, "the network of round $1");
  const against = cpg.disagrees ? " The network disagrees." : "";
  const own = Number.isNaN(cpg.networkP) ? "" : ` The network's probability of it: ${cpg.networkP.toFixed(3)}.`;
  const other = second.replace(" Second:", cpg.disagrees ? " Its first:" : " Next:");
  return [name, `, ${TAXA[cpg.taxon].meaning}. Given by ${by}${sure}.${against}${own}${other}${decides}`];
}

function showShares(cpg) {
  $("shares").tBodies[0].replaceChildren(...cpg.shares.map((share, code) => {
    const bar = el("i");
    bar.style.width = `${100 * (share || 0)}%`;
    bar.style.background = `var(--c-${TAXA[code].name})`;
    return el("tr", {}, el("th", { scope: "row" }, mark(code), ` ${TAXA[code].name}`), el("td", { className: "n", text: Number.isNaN(share) ? "–" : share.toFixed(4) }), el("td", { className: "track" }, bar));
  }));
}

function showStatistics(cpg) {
  $("statistics").tBodies[0].replaceChildren(...about.statistics.map(({ name, kind, meaning }) => {
    const value = cpg.statistic(name);
    return el("tr", {}, el("th", { scope: "row", text: name }, el("small", { text: meaning })), el("td", { className: "n", text: kind === "yes" ? (value ? "yes" : "no") : number(value, 4) }));
  }));
}

async function showPlot(cpg, turn) {
  const wanted = $("bands").value === "" ? cpg.bands : Number($("bands").value);
  const fit = fitOf(cpg, wanted);
  $("plot-text").textContent = inWords(cpg, fit, wanted);
  const sketch = window.Plotly ? null : sketchOf(cpg);
  const drawing = await withPlotly();
  sketch?.remove();
  if (turn !== opened) return;
  const range = rangeOf(cpg.betas, $("detail-own").checked);
  const traces = [...bandTraces(fit), ...pointTraces(cpg, fit)], ink = css("--ink");
  for (const line of fit.lines) {
    traces.push({ x: [YOUNGEST, OLDEST], y: [YOUNGEST, OLDEST].map((age) => line.level + line.slope * (age - fit.middle)), mode: "lines", line: { color: ink, width: 2 }, hoverinfo: "skip", showlegend: false });
  }
  const layout = layoutOf({ yaxis: { range }, xaxis: { range: [YOUNGEST - 1.5, OLDEST + 1.5] } });
  layout.showlegend = traces.some((trace) => trace.name);
  await drawing.react($("plot"), traces, layout, { displayModeBar: false, responsive: true });
}

/* A small picture in the plot's place, until plotly.js is there. */
function sketchOf(cpg) {
  const canvas = el("canvas");
  canvas.style.cssText = "width: 100%; height: 100%";
  $("plot").append(canvas);
  drawSmall(canvas, cpg, $("detail-own").checked);
  return canvas;
}

/* ±2 and ±1 standard deviations around each line. */
function bandTraces(fit) {
  const ages = Array.from({ length: 33 }, (_, at) => YOUNGEST + ((OLDEST - YOUNGEST) * at) / 32), ink = css("--ink");
  return fit.lines.flatMap((line) => [2, 1].map((times) => {
    const edge = (sign) => ages.map((age) => line.level + line.slope * (age - fit.middle) + sign * times * line.sd(age));
    return { x: [...ages, ...[...ages].reverse()], y: [...edge(1), ...edge(-1).reverse()], fill: "toself", fillcolor: faint(ink, 0.07), mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  }));
}

function pointTraces(cpg, fit) {
  const chosen = about.samples.covariates[$("colour").value], size = M > 400 ? 5 : 6.5;
  const trace = (rows, marker, name) => ({
    x: rows.map((i) => AGES[i]), y: rows.map((i) => cpg.betas[i]), mode: "markers", type: "scatter", name: name && plain(name), showlegend: Boolean(name),
    text: rows.map((i) => plain(about.samples.ids[i])), hovertemplate: "%{text}<br>age %{x}<br>beta %{y:.4f}<extra></extra>",
    marker: { size, opacity: 0.75, line: { width: rows.map((i) => (fit.outlying.has(i) ? 1.5 : 0)), color: css("--ink") }, ...marker },
  });
  const seen = Array.from({ length: M }, (_, i) => i).filter((i) => !Number.isNaN(cpg.betas[i]));
  if (!chosen) return [trace(seen, { color: cpg.taxon === UNCLASSIFIED ? css("--edge") : colourOf(cpg.taxon) })];
  if (chosen.numbers) {
    return [trace(seen, { color: seen.map((i) => chosen.numbers[i]), colorscale: "Cividis", showscale: true, colorbar: { thickness: 10, title: { text: plain(chosen.name) } } })];
  }
  const groups = chosen.names.map((name, code) => trace(seen.filter((i) => chosen.codes[i] === code), { color: BRIGHT[code], symbol: MARKERS[code] }, name));
  const rest = seen.filter((i) => chosen.codes[i] < 0);
  return rest.length ? [...groups, trace(rest, { color: css("--muted"), symbol: "circle-open" }, "not known")] : groups;
}

function inWords(cpg, fit, wanted) {
  const s = cpg.statistic, drawn = M < about.samples.total ? `; ${M.toLocaleString("en")} are drawn` : "";
  let text = `${count(fit.n, "sample")} with a value${drawn}; ages ${number(YOUNGEST)} to ${number(OLDEST)}; beta ${number(s("q05"))} to ${number(s("q95"))} (5th to 95th percentile). `;
  if (!fit.lines.length) return text + "No line was fitted.";
  if (fit.lines.length === 1) {
    text += `One line: ${signed(s("core_effect"))} over the central 90 % of ages (p ${number(s("core_slope_p"), 2)}), residual SD ${number(s("core_sd"))}${Number.isFinite(s("log_sd_ratio")) ? `, ${number(Math.exp(s("log_sd_ratio")), 2)} times as wide at old as at young age` : ""}`;
    text += fit.outlying.size ? `; ${count(fit.outlying.size, "outlier")} (ringed) left out. ` : "; no outliers. ";
  } else {
    const parts = fit.lines.map((line) => `beta ${number(line.level)} (${number(100 * line.share, 3)} % of samples, SD ${number(line.sd(0), 2)})`);
    text += `${fit.lines.length} bands at the mean age: ${parts.join(", ")}. `;
  }
  if (wanted > 1 && fit.lines.length === 1) text += `${wanted} bands were not fitted here. `;
  return `${text}Lines and SDs are the tests'. Shaded: ±1 and ±2 SD.`;
}

/* --- neighbours ---------------------------------------------------------------------------------------------------- */

const map = { rows: null };

/* The embedding; rows that this page does not hold are −1. */
async function readMap() {
  if (map.rows) return map;
  const bytes = await bytesOf(await pieceOfPage("map")), { n, neighbours } = about.map;
  const place = whole ? null : new Map(Array.from(await column("row"), (row, at) => [row, at]));
  const here = (array) => Int32Array.from(array, (row) => (whole ? row : place.get(row) ?? -1));
  map.x = fromPlanes(bytes, Float32Array, 4 * n, n);
  map.y = fromPlanes(bytes, Float32Array, 8 * n, n);
  map.cluster = fromPlanes(bytes, Uint16Array, 12 * n, n);
  map.neighbours = here(fromPlanes(bytes, Uint32Array, 14 * n, neighbours * n));
  const rows = here(fromPlanes(bytes, Uint32Array, 0, n));
  map.place = new Map(Array.from(rows, (row, at) => [row, at]));
  map.rows = rows;
  return map;
}

async function showBeside(cpg, turn) {
  $("beside-note").textContent = "Looking for neighbours …";
  $("beside").replaceChildren();
  const { place, neighbours } = await readMap(), n = about.map.n, at = place.get(cpg.row);
  let rows, note;
  if (at !== undefined) {
    rows = Array.from({ length: about.map.neighbours }, (_, rank) => neighbours[rank * n + at]);
    const away = rows.filter((row) => row < 0).length;
    rows = rows.filter((row) => row >= 0);
    note = `Nearest by what the last network sees in them (its features), among the ${count(n, "CpG")} on the map${away ? `; ${away} of ${about.map.neighbours} ${away === 1 ? "is" : "are"} not in this page` : ""}.`;
  } else {
    const began = performance.now();
    rows = await nearest(cpg);
    note = `This CpG is not on the map. Nearest by the ten probabilities and ${about.main.length} statistics, among ${whole ? "all" : "the page's"} ${count(N, "CpG")} (${number((performance.now() - began) / 1000, 2)} s).`;
  }
  if (turn !== opened) return;
  $("beside-note").textContent = note;
  const tiles = rows.map((row) => tile(row));
  $("beside").replaceChildren(...tiles.map(({ item }) => item));
  await drawTiles(tiles, $("detail-own").checked, () => turn === opened);
}

/* Distance² = squared difference of probabilities + mean squared difference of statistics in robust SDs, at most 4, / 16. */
async function nearest(cpg) {
  const shares = await Promise.all(TAXA.slice(0, 10).map(({ name }) => column(`p_${name}`)));
  const statistics = await Promise.all(about.main.map(({ name }) => column(name)));
  const distance = new Float32Array(N);
  if (cpg.shares.every((share) => !Number.isNaN(share))) {
    shares.forEach((values, taxon) => {
      const own = cpg.shares[taxon];
      for (let i = 0; i < N; i++) { const apart = (values[i] === MISSING ? 0.1 : values[i] / 1e4) - own; distance[i] += apart * apart; }
    });
  }
  statistics.forEach((values, at) => {
    const { scale } = about.main[at], own = values[cpg.row], weight = 1 / (16 * statistics.length);
    if (Number.isNaN(own)) return;
    for (let i = 0; i < N; i++) {
      let apart = (values[i] - own) / scale[1];
      if (!(apart > -4 && apart < 4)) apart = 4;
      distance[i] += apart * apart * weight;
    }
  });
  distance[cpg.row] = Infinity;
  const best = [];
  for (let i = 0, worst = Infinity; i < N; i++) {
    if (distance[i] >= worst) continue;
    best.push(i);
    best.sort((a, b) => distance[a] - distance[b]);
    if (best.length > BESIDE) best.pop();
    if (best.length === BESIDE) worst = distance[best[BESIDE - 1]];
  }
  return best.filter((row) => distance[row] < Infinity);
}

/* --- map ----------------------------------------------------------------------------------------------------------- */

async function showMap() {
  const turn = asked, drawing = await withPlotly(), { x, y, rows, cluster } = await readMap();
  if (turn !== asked || state.view !== "map") return;
  const found = new Uint8Array(N);
  for (const row of state.hits) found[row] = 1;
  const taxon = columns.get("taxon"), here = [...rows.keys()].filter((at) => rows[at] >= 0);
  const order = [UNCLASSIFIED, ...Array(UNCLASSIFIED).keys()];
  const trace = (at, code, on) => ({
    x: at.map((one) => x[one]), y: at.map((one) => y[one]), customdata: at.map((one) => rows[one]), mode: "markers", type: "scatter", hoverinfo: on ? "text" : "skip",
    text: at.map((one) => `${plain(ids[rows[one]])}<br>${TAXA[taxon[rows[one]]].name}${cluster[one] ? `, cluster ${cluster[one]}` : ""}`),
    marker: { color: on ? colourOf(code) : css("--track"), symbol: TAXA[code].symbol, size: on ? 6 : 4, opacity: on ? 0.85 : 0.7, line: { width: on && code === UNCLASSIFIED ? 1 : 0 } },
  });
  const of = (code, on) => here.filter((at) => taxon[rows[at]] === code && Boolean(found[rows[at]]) === on);
  const traces = [...order.map((code) => trace(of(code, false), code, false)), ...order.map((code) => trace(of(code, true), code, true))];
  const current = map.place.get(state.row);
  if (current !== undefined) traces.push({ x: [x[current]], y: [y[current]], mode: "markers", hoverinfo: "skip", marker: { symbol: "circle-open", size: 16, color: css("--ink"), line: { width: 2.5 } } });
  const bare = { visible: false, title: { text: "" } };
  const layout = { ...layoutOf({ xaxis: bare, yaxis: { ...bare, scaleanchor: "x" } }), margin: { l: 0, r: 0, t: 0, b: 0 }, dragmode: "pan" };
  await drawing.react($("map"), traces, layout, { displayModeBar: false, responsive: true, scrollZoom: true });
  await drawing.Plots.resize($("map")); // a CpG that opens beside it takes half of its room
  if (!$("map").dataset.listens) {
    $("map").dataset.listens = "yes";
    $("map").on("plotly_click", ({ points }) => points[0].customdata !== undefined && open(points[0].customdata));
  }
  const shown = here.filter((at) => found[rows[at]]).length;
  const text = `The CpGs as the last network sees them: ${count(shown, "CpG")} found of ${count(rows.length, "CpG")} looked at; those near each other look alike to it.`;
  $("map").setAttribute("aria-label", text);
  $("map-note").textContent = `${text} Click one to open it; drag and scroll to move. The same CpGs are in the table.`;
}

/* --- search -------------------------------------------------------------------------------------------------------- */

let lower = null, suggested = [], active = -1;

function suggest() {
  const text = $("query").value.trim().toLowerCase();
  lower ??= ids.map((id) => id.toLowerCase());
  suggested = [];
  if (text) {
    for (let row = 0; row < N && suggested.length < 10; row++) if (lower[row].startsWith(text)) suggested.push(row);
    const add = (rows) => { for (const row of rows) if (suggested.length < 10 && !suggested.includes(row)) suggested.push(row); };
    const gene = text.toUpperCase();
    add(rowsOfGene().get(gene) ?? []);
    if (suggested.length < 10) for (const [name, rows] of rowsOfGene()) if (name.startsWith(gene)) add(rows);
    for (let row = 0; row < N && suggested.length < 10; row++) if (lower[row].indexOf(text) > 0) add([row]);
  }
  active = -1;
  $("suggestions").replaceChildren(...suggested.map((row, at) => {
    const item = el("li", { role: "option", id: `suggestion-${at}` }, el("span", { text: ids[row] }), el("span", { className: "quiet" }, mark(columns.get("taxon")[row]), ` ${TAXA[columns.get("taxon")[row]].name}${PLACED && columns.get("gene")[row] ? ` · ${columns.get("gene")[row].split(";")[0]}` : ""}`));
    item.setAttribute("aria-selected", "false");
    item.addEventListener("mousedown", (event) => { event.preventDefault(); take(at); });
    return item;
  }));
  if (text && !suggested.length) {
    const nothing = el("li", { role: "option", text: `No CpG ${whole || about.n === about.total ? "of this run" : "in this page"} has this id${PLACED ? " or gene" : ""}` });
    nothing.setAttribute("aria-disabled", "true");
    nothing.setAttribute("aria-selected", "false");
    $("suggestions").append(nothing);
  }
  unfold(Boolean(text));
}

function unfold(on) {
  $("suggestions").hidden = !on;
  $("query").setAttribute("aria-expanded", String(on));
  if (!on) $("query").removeAttribute("aria-activedescendant");
}

function take(at) {
  $("query").value = ids[suggested[at]];
  unfold(false);
  open(suggested[at]);
}

function searchKeys(event) {
  if (event.key === "Escape") unfold(false);
  if (event.key === "Enter") {
    event.preventDefault();
    if (suggested.length) take(Math.max(active, 0));
  }
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by || !suggested.length) return;
  event.preventDefault();
  unfold(true);
  active = (active + by + suggested.length) % suggested.length;
  [...$("suggestions").children].forEach((item, at) => item.setAttribute("aria-selected", String(at === active)));
  $("suggestions").children[active].scrollIntoView({ block: "nearest" });
  $("query").setAttribute("aria-activedescendant", `suggestion-${active}`);
}

/* --- the filters' form --------------------------------------------------------------------------------------------- */

function ticks(box, entries, key, marked) {
  $(box).replaceChildren(...entries.map((entry, code) => {
    const input = el("input", { type: "checkbox" });
    input.dataset.code = code;
    input.addEventListener("change", () => {
      const on = [...$(box).querySelectorAll("input")].filter((one) => one.checked).map((one) => Number(one.dataset.code));
      state[key] = on.length === entries.length ? null : new Set(on);
      state.page = 0;
      refresh();
    });
    const label = el("label", { className: marked ? "tick" : "tick bare", title: entry.meaning ?? "" }, input);
    if (marked) label.append(mark(code));
    label.append(el("span", { text: entry.name }), el("span", { className: "count" }));
    return label;
  }));
}

function options(select, entries, first) {
  select.replaceChildren(...(first ? [el("option", { value: "", text: first })] : []), ...entries.map(([value, text]) => el("option", { value, text })));
}

/* Options of a select with the numbers of CpGs behind them; `codes` of an option are those that it finds. */
function counting(id, codesOf) {
  const select = $(id), texts = [...select.options].map(({ textContent }) => textContent);
  return (counts) => [...select.options].forEach((option, at) => {
    if (!option.value) return;
    const n = codesOf(option.value).reduce((sum, code) => sum + counts[code], 0);
    option.textContent = `${texts[at]} (${n.toLocaleString("en")})`;
  });
}

const ticked = (box) => (counts) => { for (const input of $(box).querySelectorAll("input")) input.parentElement.querySelector(".count").textContent = counts[input.dataset.code].toLocaleString("en"); };
const codeOf = (entries) => (value) => [entries.findIndex(({ name }) => name === value)];
const COUNTED = {}; // by facet what shows its counts; made at the start

function groupedColumns(select) {
  const group = (label, names) => { const made = el("optgroup", { label }); made.append(...names.map((name) => el("option", { value: name, text: name, title: MEANS[name] }))); return made; };
  select.append(group("probabilities", FILTERED.filter(({ kind }) => kind === "share").map(({ name }) => name)), group("statistics", NAMES));
}

function showConditions() {
  $("conditions").replaceChildren(...state.conditions.map((condition, at) => {
    const select = el("select", { "aria-label": "statistic" });
    groupedColumns(select);
    select.value = condition.name;
    const change = () => { state.page = 0; refresh(); };
    select.addEventListener("change", () => { condition.name = select.value; meaning.textContent = MEANS[condition.name]; change(); });
    const meaning = el("span", { className: "quiet", text: MEANS[condition.name] });
    const end = (key, label) => {
      const input = el("input", { type: "number", step: "any", value: condition[key], disabled: condition.missing });
      input.addEventListener("input", () => { condition[key] = input.value; change(); });
      return el("label", {}, `${label} `, input);
    };
    const missing = el("input", { type: "checkbox", checked: condition.missing });
    missing.addEventListener("change", () => { condition.missing = missing.checked; showConditions(); change(); });
    const remove = el("button", { type: "button", className: "plain", text: "remove", onclick: () => { state.conditions.splice(at, 1); showConditions(); $("add-condition").focus(); change(); } });
    return el("div", { className: "condition", role: "group", "aria-label": `condition ${at + 1}` }, select, meaning, el("div", { className: "pair" }, end("low", "from"), end("high", "to")), el("label", { className: "tick bare" }, missing, el("span", { text: "missing" }), remove));
  }));
}

/* The form as the state says. */
function showForm() {
  for (const input of $("taxa").querySelectorAll("input")) input.checked = !state.taxa || state.taxa.has(Number(input.dataset.code));
  for (const input of $("sources").querySelectorAll("input")) input.checked = !state.sources || state.sources.has(Number(input.dataset.code));
  $("confidence-low").value = state.low;
  $("confidence-high").value = state.high;
  $("second").value = state.second;
  $("reason").value = state.reason;
  $("boundary").value = state.boundary;
  for (const key of ["disagrees", "shape", "cause", "cell", "spread", "gene", "chromosome", "island", "flag"]) $(key).value = state[key];
  $("undecided").value = state.detail;
  $("list").value = state.list ? state.list.join("\n") : "";
  showConditions();
  showList();
}

function showList() {
  if (!state.list) { $("list-status").textContent = ""; return; }
  const { found, unknown } = looked(state.list);
  const shown = unknown.slice(0, 20).join(", ") + (unknown.length > 20 ? ` and ${unknown.length - 20} more` : "");
  const where = whole || about.n === about.total ? "in this run" : "in this page, which holds a sample";
  $("list-status").textContent = `${count(new Set(found).size, "CpG")} found.${unknown.length ? ` ${unknown.length === 1 ? "One is" : `${unknown.length.toLocaleString("en")} are`} not ${where}: ${shown}.` : ""}`;
}

function applyList() {
  looked([]);
  const lines = $("list").value.split(/\r?\n/).map((line) => line.trim());
  // A line that is an id as it stands may hold blanks and commas.
  const names = [...new Set(lines.flatMap((line) => (known.has(line) ? [line] : line.split(/[\s,;]+/))).filter(Boolean))];
  state.list = names.length ? names : null;
  state.page = 0;
  showList();
  refresh();
}

function redrawTiles() {
  if (state.view !== "sheet") return;
  const turn = asked;
  const tiles = [...$("sheet").querySelectorAll("button[data-row]")].map((button) => ({ canvas: button.querySelector("canvas"), row: Number(button.dataset.row) }));
  drawTiles(tiles, $("own-range").checked, () => turn === asked);
}

async function redrawDetail() {
  if (state.row < 0) return;
  const turn = opened, cpg = await cpgAt(state.row);
  if (turn !== opened) return;
  await showPlot(cpg, turn);
  const tiles = [...$("beside").querySelectorAll("button[data-row]")].map((button) => ({ canvas: button.querySelector("canvas"), row: Number(button.dataset.row) }));
  await drawTiles(tiles, $("detail-own").checked, () => turn === opened);
}

function step(by) {
  const at = state.hits.indexOf(state.row) + by;
  if (at < 0 || at >= state.hits.length) return;
  open(state.hits[at]);
  const page = Math.floor(at / pageSize());
  if (page !== state.page) { state.page = page; show(); }
}

function listen() {
  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("filters", "submit", (event) => event.preventDefault());
  const setTaxa = (codes) => { state.taxa = codes; state.page = 0; showForm(); refresh(); };
  on("taxa-all", "click", () => setTaxa(null));
  on("taxa-none", "click", () => setTaxa(new Set()));
  for (const [id, key] of [["confidence-low", "low"], ["confidence-high", "high"], ["second", "second"], ["reason", "reason"], ["undecided", "detail"], ["boundary", "boundary"], ["disagrees", "disagrees"], ["shape", "shape"], ["cause", "cause"], ["cell", "cell"], ["spread", "spread"], ["gene", "gene"], ["chromosome", "chromosome"], ["island", "island"], ["flag", "flag"]]) {
    on(id, "input", () => { state[key] = $(id).value; state.page = 0; refresh(); });
  }
  on("add-condition", "click", () => {
    state.conditions.push({ name: "core_effect", low: "", high: "", missing: false });
    showConditions();
    $("conditions").lastElementChild.querySelector("select").focus();
  });
  on("list-apply", "click", applyList);
  on("list-clear", "click", () => { $("list").value = ""; applyList(); });
  on("reset", "click", () => { Object.assign(state, { ...structuredClone(START), sort: state.sort, view: state.view, cpg: state.cpg }); showForm(); refresh(); });
  on("filters-button", "click", () => {
    const shown = $("filters").classList.toggle("shown");
    $("filters-button").setAttribute("aria-expanded", String(shown));
    if (shown) { $("filters").scrollIntoView(); $("filters").focus({ preventScroll: true }); }
  });
  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => { state.view = button.dataset.view; state.page = 0; show(true); });
  on("page-before", "click", () => { state.page -= 1; show(); });
  on("page-after", "click", () => { state.page += 1; show(); });
  on("table", "keydown", tableKeys);
  on("choose-all", "click", () => { for (const row of state.hits) choose(row, true); showChosen(); });
  on("choose-none", "click", () => { state.chosen.fill(0); state.chosenCount = 0; showChosen(); $("choose-all").focus(); });
  on("which", "change", showChosen);
  on("export", "click", exportCsv);
  on("copy", "click", () => { const rows = exported(); copyText(Array.from(rows, (row) => ids[row]).join("\n"), count(rows.length, "id")); });
  on("sheet-sort", "change", () => { state.sort = $("sheet-sort").value && ($("sheet-down").checked ? "-" : "") + $("sheet-sort").value; resort(); });
  on("sheet-down", "change", () => { if ($("sheet-sort").value) { state.sort = ($("sheet-down").checked ? "-" : "") + $("sheet-sort").value; resort(); } });
  on("own-range", "change", redrawTiles);
  on("add-column", "change", () => { const name = $("add-column").value; if (name && !state.shown.includes(name)) state.shown.push(name); $("add-column").value = ""; showTable(); });
  on("columns-reset", "click", () => { state.shown = [...SHOWN]; showTable(); });
  on("detail-close", "click", () => close());
  on("detail-before", "click", () => step(-1));
  on("detail-after", "click", () => step(1));
  on("detail-chosen", "change", () => { choose(state.row, $("detail-chosen").checked); showChosen(); });
  on("beside-fold", "toggle", redrawDetail);
  on("link", "click", () => copyText(`${location.href.split("#")[0]}#cpg=${encodeURIComponent(state.cpg)}`, "The link"));
  for (const id of ["bands", "colour", "detail-own"]) on(id, "change", redrawDetail);
  on("query", "input", suggest);
  on("query", "keydown", searchKeys);
  on("query", "blur", () => unfold(false));
  on("detail", "keydown", (event) => { if (event.key === "Escape") close(); });
  dark.addEventListener("change", () => { redrawTiles(); redrawDetail(); if (state.view === "map") showMap(); });
  addEventListener("popstate", restore);
  addEventListener("unhandledrejection", (event) => notice(`Something could not be shown: ${event.reason?.message ?? event.reason}.`));
  let resized = 0;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(redrawTiles, 150); });
}

/* What the address says: at the start, and when the browser goes back. */
async function restore() {
  recall();
  showForm();
  await refresh();
  const { found } = state.cpg ? looked([state.cpg]) : { found: [] };
  if (found.length) await open(found[0], false);
  else if (state.row >= 0 || !$("detail").hidden) close(false);
  if (state.cpg && !found.length) notice(`${state.cpg} is not ${whole || about.n === about.total ? "in this run" : "in this page"}.`);
}

/* --- start --------------------------------------------------------------------------------------------------------- */

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text;
}

/* Whether the folder lies beside the page and is of the same run; what to say where it does not. */
async function lookForFolder() {
  if (!about.companion) return about.n === about.total ? "" : "sample";
  try { return (await pieceOfFolder("about", "about.js")) === about.digest ? "whole" : "other"; } catch { return "missing"; }
}

function sayWhat(folder) {
  const held = `This page holds ${about.n.toLocaleString("en")} of ${count(about.total, "CpG")}: as many of each taxon and round as there are or fit, chosen at random`;
  const texts = {
    sample: `${held}.`,
    missing: `${held}. The folder ${about.companion}, from which it shows all of them, is not beside it: put both in one place to see every CpG.`,
    other: `${held}. The folder ${about.companion} beside it is of another run, and is not used.`,
  };
  notice(texts[folder] ?? "");
  const samples = M < about.samples.total ? `${count(M, "sample")} of ${about.samples.total.toLocaleString("en")} are drawn, at random and spread over the ages; statistics are of all.` : `All ${count(M, "sample")} are drawn.`;
  $("about-samples").textContent = `${samples} Lines and bands are those of the tests.`;
  $("facts").textContent = `${count(about.total, "CpG")}, ${count(about.samples.total, "sample")} aged ${number(YOUNGEST)} to ${number(OLDEST)}${folder === "whole" || !folder ? "" : `; ${count(about.n, "CpG")} in this page`}`;
}

async function start() {
  const folder = await lookForFolder();
  whole = folder === "whole";
  if (whole) N = about.total;
  sayWhat(folder);
  ids = await textsOf("ids");
  await Promise.all([...CODED, ...PLACES, ...NUMBERS, ...CELLS].map(column));
  state.chosen = new Uint8Array(N);
  ticks("taxa", TAXA, "taxa", true);
  ticks("sources", about.sources, "sources", false);
  options($("second"), TAXA.slice(0, 10).map(({ name }) => [name, name]), "any");
  options($("reason"), about.reasons.map(({ name, meaning }) => [name, `${name}: ${meaning}`]), "any reason, or none");
  options($("boundary"), [["clear", "none: clear"], ...about.boundaries.map(({ name }) => [name, name.replaceAll("_", " ")])], "any, or none");
  options($("disagrees"), [["yes", "the network disagrees"], ["no", "it does not"]], "any");
  for (const key of ["shape", "cause"]) for (const { name } of about[`${key}s`]) $(key).append(el("option", { value: name, text: name.replaceAll("_", " ") }));
  const alone = about.details.filter(({ open }) => open === 1);
  options($("undecided"), [...(alone.length > 1 ? [[ONE_OPEN, "any one open question"]] : []), ...about.details.map(({ name }) => [name, name])], "anything");
  $("why").hidden = !TAXA[UNCLASSIFIED].total;
  $("places").hidden = !PLACED;
  $("cells").hidden = !CELLS.length;
  for (const key of ["cell", "spread"]) options($(key), IN_CELLS, "any, or none");
  for (const [key, entries] of [["chromosome", about.chromosomes], ["island", about.islands]]) options($(key), entries.map(({ name }) => [name, name.replaceAll("_", " ")]), "any");
  options($("flag"), [...FLAGS, NO_FLAG].map((name) => [name, name.replaceAll("_", " ")]), "any, or none");
  $("flag").closest("label").hidden = !FLAGS.length;
  Object.assign(COUNTED, {
    taxon: ticked("taxa"), source: ticked("sources"), second_taxon: counting("second", codeOf(TAXA)), reason: counting("reason", codeOf(about.reasons)),
    detail: counting("undecided", (value) => (value === ONE_OPEN ? [...about.details.keys()].filter((code) => about.details[code].open === 1) : codeOf(about.details)(value))),
    boundary: counting("boundary", (value) => (value === "clear" ? [NO_NAME] : codeOf(about.boundaries)(value))), disagrees: counting("disagrees", (value) => [value === "yes" ? 1 : 0]),
    shape: counting("shape", codeOf(about.shapes)), cause: counting("cause", codeOf(about.causes)),
    cell_type: counting("cell", codesOfCell), spread_cell_type: counting("spread", codesOfCell),
    chromosome: counting("chromosome", codeOf(about.chromosomes)), island: counting("island", codeOf(about.islands)), flags: counting("flag", codesOfFlag),
  });
  options($("sheet-sort"), ["cpg", "taxon", ...NUMBERS, ...CELLS.filter((name) => name.endsWith("_q"))].map((name) => [name, name === "cpg" ? "CpG" : name]), "order of the data");
  groupedColumns($("sheet-sort"));
  options($("add-column"), ["reason", "detail", "boundary", "criterion", "network_p", "disagrees", "shape", "change_point", "spread_shape", "spread_change_point", "cause", "replication", ...CELLS, ...PLACES].map((name) => [name, name]), "…");
  groupedColumns($("add-column"));
  about.samples.covariates.forEach(({ name }, at) => $("colour").append(el("option", { value: String(at), text: name })));
  if (!about.samples.covariates.length) $("colour").closest("label").hidden = true;
  $("numbers").open = $("beside-fold").open = !matchMedia("(max-width: 46rem)").matches;
  listen();
  showChosen();
  await restore();
  document.documentElement.dataset.ready = "yes";
  (window.requestIdleCallback ?? setTimeout)(() => withPlotly()); // there when the first CpG is opened
}

start().catch((error) => {
  notice(`This page could not be read (${error.message}). It needs a browser of 2023 or later, and the whole file.`);
  console.error(error);
});
})();
