/* The charts of a comparison: `shown` holds the numbers of the variants that are ticked. Names are only ever set as text. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent), [reference] = data.variants;

  /** The reference and the best, as many as a chart can hold at first. */
  function firstShown() {
    const best = data.variants.slice(1).sort((a, b) => (b.mean ?? -Infinity) - (a.mean ?? -Infinity));
    return new Set([reference, ...best.slice(0, data.mostShown - 1)].map((variant) => variant.number));
  }

  const shown = firstShown(), percent = `${data.title} (%)`;
  const series = () => data.variants.filter((variant) => shown.has(variant.number));
  const curves = (kind) => series().map((variant) => ({ ...variant, curves: variant[kind].seeds, mean: variant[kind].mean }));
  const against = (cost) => series().map((variant) => ({ ...variant, x: variant[cost], y: variant.mean, spread: variant.std }));

  const redraws = [
    charts.place("scores", `${percent} of each seed`, (width) => charts.rows(width, series().map((variant) => ({
      ...variant, label: `${variant.number}. ${variant.name}`, rings: variant.scores, dot: variant.mean,
    })), { label: percent, zero: data.reference })),
    charts.place("curves", `${percent} by training step`, (width) => charts.lines(width, curves("curves"), { x: { label: "step" }, y: {} })),
    charts.place("losses", "Loss by training step", (width) => charts.lines(width, curves("losses"), { x: { label: "step" }, y: { log: true } })),
    charts.place("speed", `${percent} against speed`, (width) => charts.points(width, against("speed"), { x: { label: "images a second" }, y: {} })),
    charts.place("flops", `${percent} against FLOPs`, (width) => charts.points(width, against("flops"), { x: { label: "FLOPs" }, y: {} })),
  ];
  if (document.getElementById("recall")) {
    const pick = document.getElementById("of-recall"), recalls = (variant) => (variant.recall.mean ?? variant.recall.seeds[0])?.[0];
    const ofClass = (i) => series().filter((variant) => variant.classRecall[i]).map((variant) => ({ ...variant, curves: [[recalls(variant), variant.classRecall[i]]], mean: null }));
    pick?.append(new Option("all, the mean", ""), ...data.curveClasses.map((name, i) => new Option(name, i)));
    const redraw = charts.place("recall", "Precision by recall", (width) => charts.lines(width, pick?.value ? ofClass(Number(pick.value)) : curves("recall"), { x: { label: "recall (%)" }, y: {} }));
    pick?.addEventListener("change", redraw);
    redraws.push(redraw);
  }
  charts.legend(document.getElementById("variants"), data.variants, shown, () => redraws.forEach((redraw) => redraw()));

  /** Fill a list with variants; `draw(width, variant)` draws the chosen one. */
  function chosen(list, variants, id, label, draw) {
    const pick = document.getElementById(list);
    if (!pick) return;
    pick.append(...variants.map((variant) => new Option(`${variant.number}. ${variant.name}`, variant.number)));
    pick.addEventListener("change", charts.place(id, label, (width) => draw(width, variants.find((variant) => variant.number === Number(pick.value)))));
  }

  chosen("of-classes", data.variants.slice(1), "classes", "Differences of the classes in points", (width, variant) => {
    const rows = data.classes.map((name, i) => ({ ...variant, label: name, name, rings: variant.classes[i], interval: null, mean: mean(variant.classes[i]) }));
    const largest = rows.filter((row) => row.rings.length).sort((a, b) => Math.abs(b.mean) - Math.abs(a.mean)).slice(0, data.mostClasses);
    return charts.rows(width, rows.filter((row) => largest.includes(row)).map((row) => ({ ...row, bar: [0, row.mean] })), { label: "points", zero: 0 });
  });
  chosen("of-confusion", data.variants, "confusion", "What was taken for what", (width, variant) => charts.matrix(width, data.confusion, variant.confusion, variant.number));

  for (const button of document.querySelectorAll(".pictures button")) {
    button.addEventListener("click", () => button.setAttribute("aria-pressed", button.closest("figure").classList.toggle("large")));
  }

  function mean(values) {
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  }
})();
