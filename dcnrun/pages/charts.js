/*
 * Charts of reports, as SVG that is drawn anew where its place becomes wider or narrower, so that letters keep their size. Names are
 * only ever set as text. A series is `{ number, name, ... }`: its number stands beside it and gives dashes and colour, unless `colour` is another number.
 */
const charts = (() => {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const COLOURS = 7, DASHES = ["", "7 4", "2 3", "9 3 2 3"];
  const LETTER = 6.6; // width of one, about, in pixels
  const NARROW = 520;

  /** An SVG element; a child that is a string is its text. */
  function svg(tag, attributes, ...children) {
    const made = document.createElementNS(NAMESPACE, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function colourOf(number) {
    return `k${(number - 1) % COLOURS}`;
  }

  function dashesOf(number) {
    return DASHES[Math.floor((number - 1) / COLOURS) % DASHES.length];
  }

  /** The part of a chart that is one series, with its name as a tooltip. */
  function group(series, ...children) {
    return svg("g", { class: `series ${colourOf(series.colour ?? series.number)}`, "data-number": series.number }, svg("title", {}, series.title ?? series.name), ...children);
  }

  /** From values to pixels. Ends that are equal are moved apart. */
  function scaleOf(low, high, from, to, log = false) {
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)];
    const at = log ? Math.log10 : (value) => value, start = at(low), size = at(high) - start;
    return Object.assign((value) => from + ((at(value) - start) / size) * (to - from), { low, high, log });
  }

  /** Round values on a scale, about as many as asked for. */
  function ticks({ low, high, log }, count) {
    if (log && high / low > 8) return powers(low, high, count);
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((times) => times * power).find((size) => size >= rough);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(Number((i * step).toPrecision(12)));
    return found;
  }

  function powers(low, high, count) {
    const times = Math.log10(high / low) * 3 > count ? [1] : [1, 2, 5], found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      found.push(...times.map((each) => Number((each * 10 ** power).toPrecision(6))).filter((value) => value >= low && value <= high));
    }
    return found;
  }

  /** A number with a unit prefix, such as 11.2 M, where it has more than four digits. */
  function shortNumber(value) {
    if (Math.abs(value) >= 1e3 && Math.abs(value) < 1e4) return `${Number(value.toPrecision(4))}`;
    for (const [size, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))} ${prefix}`;
    }
    return `${Number(value.toPrecision(3))}`;
  }

  /** As much of a text as so many pixels hold. */
  function fitted(text, width) {
    const most = Math.max(Math.floor(width / LETTER), 4);
    return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
  }

  /** The ends of values, with a margin. */
  function endsOf(values, margin = 0.05, log = false) {
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    if (log) return [low / 1.1, high * 1.1];
    const more = (high - low) * margin;
    return [low - more, high + more];
  }

  /** Call `draw(width)` for the SVG in a place now and whenever its width changes; `draw` returns undefined for nothing to show. */
  function place(id, label, draw) {
    const box = document.getElementById(id);
    let width = 0;
    const redraw = () => {
      const drawn = width && draw(width);
      const nothing = Object.assign(document.createElement("p"), { className: "note", textContent: "Nothing to show." });
      if (drawn) drawn.setAttribute("aria-label", label), drawn.setAttribute("role", "img");
      if (width) box.replaceChildren(drawn || nothing);
    };
    new ResizeObserver(() => {
      const now = Math.floor(box.clientWidth);
      if (now && now !== width) width = now, redraw();
    }).observe(box);
    return redraw;
  }

  /** Axes around a plot: the SVG, its two scales and the area between them. */
  function axes(width, height, x, y) {
    const left = 52, right = 22, top = 10, bottom = 40;
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}` });
    const across = scaleOf(...x.ends, left, width - right, x.log), up = scaleOf(...y.ends, height - bottom, top, y.log);
    for (const value of ticks(up, 6)) {
      root.append(svg("path", { class: "grid", d: `M${left} ${up(value)}H${width - right}` }));
      root.append(svg("text", { x: left - 6, y: up(value) + 4, "text-anchor": "end" }, shortNumber(value)));
    }
    const named = x.names?.map((_, i) => i);
    for (const value of named ?? ticks(across, width < NARROW ? 4 : 7).filter((each) => !x.whole || Number.isInteger(each))) {
      root.append(svg("path", { class: "grid", d: `M${across(value)} ${height - bottom}v4` }));
      root.append(svg("text", { x: across(value), y: height - bottom + 17, "text-anchor": "middle" }, named ? fitted(x.names[value], (width - left) / named.length) : shortNumber(value)));
    }
    root.append(svg("text", { x: width - right, y: height - 6, "text-anchor": "end" }, fitted(x.label, width - left)));
    return { root, across, up };
  }

  function pathOf(curve, { across, up }) {
    return curve[0].map((step, i) => `${i ? "L" : "M"}${across(step).toFixed(1)} ${up(curve[1][i]).toFixed(1)}`).join("");
  }

  /** The path of a curve that keeps each value until the next. */
  function stairsOf([steps, values], { across, up }) {
    return steps.map((step, i) => (i ? `H${across(step)}V${up(values[i])}` : `M${across(step)} ${up(values[i])}`)).join("");
  }

  /** A curve as a line, or as a dot where it has a single point. */
  function drawnCurve(curve, area, thin, dashes) {
    const [[step], [value]] = curve;
    if (curve[0].length === 1) return svg("circle", { class: thin ? "ring seed" : "dot", cx: area.across(step), cy: area.up(value), r: thin ? 3.6 : 5 });
    return svg("path", { class: thin ? "line seed" : "line", d: pathOf(curve, area), ...dashes });
  }

  /** Move heights of labels apart, so that none lies on another. */
  function apart(labels, distance, top, bottom) {
    labels.sort((a, b) => a.y - b.y);
    labels.forEach((label, i) => { if (i) label.y = Math.max(label.y, labels[i - 1].y + distance); });
    for (let i = labels.length - 1, most = bottom; i >= 0; i--, most -= distance) labels[i].y = Math.max(Math.min(labels[i].y, most), top);
    return labels;
  }

  /** Curves: of each series `{ curves: [[steps, values], ...], mean: [steps, values] or null }`, thin ones and a thick one. */
  function lines(width, series, { x, y }) {
    const all = series.flatMap((each) => [...each.curves, ...(each.mean ? [each.mean] : [])]).filter(([steps]) => steps.length);
    if (!all.length) return undefined;
    const values = all.flatMap((curve) => curve[1]), ends = endsOf(values), log = Boolean(y.log) && Math.min(...endsOf(values, 0)) > 0;
    const height = Math.round(Math.min(Math.max(width * 0.6, 240), 340));
    const area = axes(width, height, { ends: endsOf(all.flatMap((curve) => [curve[0][0], curve[0].at(-1)]), 0), label: x.label, whole: true },
      { ends: log ? endsOf(values, 0, true) : ends, log });
    const labels = [];
    for (const each of series) {
      const dashes = { "stroke-dasharray": dashesOf(each.number) };
      const drawn = each.curves.filter(([steps]) => steps.length).map((curve) => drawnCurve(curve, area, each.mean, dashes));
      const main = each.mean?.[0].length ? each.mean : each.curves.at(-1);
      if (each.mean?.[0].length) drawn.push(drawnCurve(each.mean, area, false, dashes));
      if (main?.[0].length) labels.push({ each, x: area.across(main[0].at(-1)) + 4, y: area.up(main[1].at(-1)) + 4 });
      area.root.append(group(each, ...drawn));
    }
    for (const { each, x: left, y: at } of apart(labels, 12, 16, height - 42)) {
      area.root.append(group(each, svg("text", { class: "own", x: left, y: at }, `${each.number}`)));
    }
    return area.root;
  }

  /**
   * Points with whiskers: of each series `{ x, y, spread, hollow }`; `line` is a curve behind them, and without `numbered` there are no numbers beside
   * them, where there are too many.
   */
  function points(width, series, { x, y, line, numbered = true }) {
    const placed = series.filter((each) => each.x != null && each.y != null);
    if (!placed.length) return undefined;
    const height = Math.round(Math.min(Math.max(width * 0.6, 240), 340));
    const ends = endsOf(placed.flatMap((each) => [each.y - (each.spread ?? 0), each.y + (each.spread ?? 0)]), 0.08);
    const log = Boolean(x.log) && placed.every((each) => each.x > 0);
    const area = axes(width, height, { ...x, log, ends: x.names ? [-0.5, x.names.length - 0.5] : endsOf(placed.map((each) => each.x), 0.08, log) }, { ends });
    if (line) area.root.append(svg("path", { class: "zero", d: stairsOf(line, area) }));
    for (const each of placed) {
      const left = area.across(each.x), at = area.up(each.y);
      const whisker = each.spread ? [svg("path", { class: "line seed", d: `M${left} ${area.up(each.y - each.spread)}V${area.up(each.y + each.spread)}` })] : [];
      const number = numbered ? [svg("text", { class: "own", x: left + 9, y: at - 5 }, `${each.number}`)] : [];
      area.root.append(group(each, ...whisker, svg("circle", { class: each.hollow ? "ring" : "dot", cx: left, cy: at, r: numbered ? 6 : 4.5 }), ...number));
    }
    return area.root;
  }

  /**
   * A row each, on one scale: `{ number, label, rings: [...], dot, interval: [low, high] or null, bar: [from, to] or null }`. Labels stand beside
   * the rows, or above them where the chart is narrow.
   */
  function rows(width, entries, { label, zero }) {
    const values = entries.flatMap((each) => [...(each.rings ?? []), each.dot, ...(each.interval ?? []), ...(each.bar ?? [])]).filter((value) => value != null);
    if (!values.length) return undefined;
    const narrow = width < NARROW, longest = Math.max(...entries.map((each) => each.label.length)) * LETTER + 12;
    const left = narrow ? 8 : Math.min(longest, width * 0.36), row = narrow ? 42 : 28, bottom = 40;
    const height = entries.length * row + bottom + 6, root = svg("svg", { viewBox: `0 0 ${width} ${height}` });
    const across = scaleOf(...endsOf(zero == null ? values : [...values, zero]), left, width - 14);
    for (const value of ticks(across, narrow ? 4 : 7)) {
      root.append(svg("path", { class: "grid", d: `M${across(value)} 4V${height - bottom}` }));
      root.append(svg("text", { x: across(value), y: height - bottom + 16, "text-anchor": "middle" }, shortNumber(value)));
    }
    if (zero != null) root.append(svg("path", { class: "zero", d: `M${across(zero)} 4V${height - bottom}` }));
    entries.forEach((each, i) => {
      const at = 6 + i * row + (narrow ? 28 : row / 2), drawn = [];
      if (each.bar) {
        const [from, to] = [...each.bar].map(across).sort((a, b) => a - b);
        drawn.push(svg("rect", { class: "bar", x: from, y: at - 7, width: Math.max(to - from, 1), height: 14 }));
      }
      if (each.interval) drawn.push(svg("path", { class: "interval", d: `M${across(each.interval[0])} ${at}H${across(each.interval[1])}` }));
      for (const value of each.rings ?? []) drawn.push(svg("circle", { class: "ring", cx: across(value), cy: at, r: 3.6 }));
      if (each.dot != null) drawn.push(svg("circle", { class: "dot", cx: across(each.dot), cy: at, r: 5 }));
      const name = svg("text", { class: "name", x: narrow ? left : left - 8, y: narrow ? at - 12 : at + 4, "text-anchor": narrow ? "start" : "end" });
      name.append(fitted(each.label, narrow ? width - 16 : left - 12));
      root.append(group(each, name, ...drawn));
    });
    root.append(svg("text", { x: width - 14, y: height - 6, "text-anchor": "end" }, fitted(label, width)));
    return root;
  }

  /** A cell for each true (row) and predicted (column) class, as dark as its share of the row; numbers where they can be read. */
  function matrix(width, names, counts, number) {
    if (!counts.length) return undefined;
    const longest = Math.max(...names.map((name) => name.length)) * LETTER + 10, left = Math.min(longest, width * 0.3), top = 26;
    const cell = Math.min((width - left - 4) / names.length, 56), bottom = Math.min(longest, 150);
    const root = svg("svg", { viewBox: `0 0 ${width} ${top + cell * names.length + bottom}` });
    const every = Math.ceil(12 / cell); // names that would lie on one another are left out
    root.append(svg("text", { x: left, y: 14 }, `rows: true, columns: predicted; % of the row${every > 1 ? `; 1 name of ${every} is written` : ""}`));
    counts.forEach((row, i) => {
      const sum = row.reduce((total, count) => total + count, 0), at = top + i * cell;
      if (i % every === 0) root.append(svg("text", { class: "name", x: left - 6, y: at + cell / 2 + 4, "text-anchor": "end" }, fitted(names[i], left - 6)));
      if (i % every === 0) {
        const across = left + (i + 0.5) * cell + 4, below = top + cell * names.length + 8;
        root.append(svg("text", { class: "name", x: across, y: below, "text-anchor": "end", transform: `rotate(-90 ${across} ${below})` }, fitted(names[i], bottom)));
      }
      row.forEach((count, j) => {
        const share = sum ? count / sum : 0, x = left + j * cell;
        const drawn = [svg("title", {}, `${names[i]} as ${names[j]}: ${shortNumber(count)} (${(100 * share).toFixed(1)} %)`),
          svg("rect", { class: "cell", x, y: at, width: cell - 1, height: cell - 1, "fill-opacity": share })];
        if (cell >= 26 && count) drawn.push(svg("text", { class: share > 0.6 ? "on-cell" : "name", x: x + cell / 2, y: at + cell / 2 + 4, "text-anchor": "middle" }, (100 * share).toFixed(0)));
        root.append(svg("g", { class: colourOf(number) }, ...drawn));
      });
    });
    return root;
  }

  /** A line in the colour and dashes of a series, for a legend. */
  function swatch(number) {
    return svg("svg", { viewBox: "0 0 30 12", class: colourOf(number), "aria-hidden": "true" },
      svg("path", { class: "swatch", d: "M1 6H29", "stroke-dasharray": dashesOf(number) }));
  }

  /** Make one series stand out in all charts of the page; none for undefined. */
  function light(number) {
    document.body.classList.toggle("lit", number !== undefined);
    for (const each of document.querySelectorAll(".series")) each.classList.toggle("is-lit", Number(each.dataset.number) === number);
  }

  /**
   * Fill a fieldset with a box to tick for each series, by which charts show it; those with a number in `shown` are ticked at first. `redraw` is called after
   * each change.
   */
  function legend(fieldset, series, shown, redraw) {
    const boxes = series.map((each) => {
      const label = document.createElement("label"), box = Object.assign(document.createElement("input"), { type: "checkbox", checked: shown.has(each.number) });
      const name = Object.assign(document.createElement("bdi"), { textContent: each.name });
      const number = Object.assign(document.createElement("b"), { textContent: `${each.number}`, className: colourOf(each.number) });
      label.append(box, swatch(each.number), number, name);
      box.addEventListener("change", () => { shown[box.checked ? "add" : "delete"](each.number); redraw(); });
      for (const kind of ["pointerenter", "focusin"]) label.addEventListener(kind, () => light(each.number));
      for (const kind of ["pointerleave", "focusout"]) label.addEventListener(kind, () => light(undefined));
      return { box, label, number: each.number };
    });
    const buttons = [["All", true], ["None", false]].map(([text, checked]) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
      button.addEventListener("click", () => {
        for (const { box, number } of boxes) { box.checked = checked; shown[checked ? "add" : "delete"](number); }
        redraw();
      });
      return button;
    });
    fieldset.append(...(series.length > 2 ? buttons : []), ...boxes.map(({ label }) => label));
  }

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));

  return { place, lines, points, rows, matrix, legend };
})();
