/* The charts of a sweep: `shown` holds the ranks of the trials that are ticked. Names are only ever set as text. */
(() => {
  const MOST_SHOWN = 8;
  const data = JSON.parse(document.getElementById("data").textContent);
  if (!document.getElementById("history")) return; // no trial has a value

  const shown = new Set(data.trials.slice(0, MOST_SHOWN).map((trial) => trial.number));
  const BEST = 5, OTHERS = 1; // colours
  const point = (trial, x) => ({ number: trial.number, colour: trial.number === 1 ? BEST : OTHERS, name: trial.name, x, y: trial.value, hollow: !trial.completed });
  const points = (xOf) => data.trials.map((trial, i) => point(trial, xOf(trial, i))).reverse(); // the best above the others

  charts.place("history", `${data.metric} of each trial`, (width) => charts.points(width, points((trial) => trial.trial),
    { x: { label: "trial", whole: true }, y: {}, line: data.best, numbered: false }));
  if (document.getElementById("importance")) {
    charts.place("importance", "Importance of parameters", (width) => charts.rows(width, data.importance.map(([label, share]) => ({
      number: 0, colour: OTHERS, name: `${label}: ${share} %`, label, bar: [0, share],
    })), { label: "%", zero: 0 }));
  }
  const redraw = charts.place("curves", `${data.metric} at each report`, (width) => charts.lines(width, data.trials.filter((trial) => shown.has(trial.number))
    .map((trial) => ({ ...trial, curves: [trial.curve], mean: null })), { x: { label: "step" }, y: {} }));
  charts.legend(document.getElementById("variants"), data.trials, shown, redraw);

  const pick = document.getElementById("parameter");
  if (pick) {
    pick.append(...data.parameters.map((parameter, i) => new Option(parameter.name, i)));
    pick.addEventListener("change", charts.place("slice", `${data.metric} against a parameter`, (width) => {
      const { name, log, names, values } = data.parameters[Number(pick.value)];
      return charts.points(width, points((_, i) => values[i]), { x: { label: name, log, names }, y: {}, numbered: false });
    }));
  }
})();
