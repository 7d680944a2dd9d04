/*
 * The page: `state` says what is chosen, `refresh` brings the controls in line with it, `draw` paints the panels.
 * Names come from data: they are only ever set as text.
 */
(() => {
  // Largest radius of a dot and width of its rim in CSS pixels, by how many layers are looked through, and on the cards.
  const DOTS = [{ largest: 7, rim: 1 }, { largest: 4.5, rim: 0.8 }, { largest: 3, rim: 0.6 }];
  const CARD_DOTS = { largest: 2.4, rim: 0.5 };
  const SQUARES = [5, 3, 3]; // of the undeformed grid, likewise
  const POINTS_PER_GROUP = 9 ** 3;
  const ALL = -1, NONE = -1;

  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const state = {
    runs: [0, data.runs.length > 1 ? 1 : NONE], // on the left and on the right
    image: data.runs[0].images[0].name,
    layer: null,
    length: 1,
    group: ALL,
    queryPoint: { y: 0.5, x: 0.5 }, // as a share of the height and width, for images of any size
    pinned: false,
  };

  // ---- what is chosen ----

  const imageNames = [...new Set(data.runs.flatMap((run) => run.images.map((image) => image.name)))];

  /** The chosen image of the run on a side; undefined where there is no run or it has no such image. */
  function imageOn(side) {
    return data.runs[state.runs[side]]?.images.find((image) => image.name === state.image);
  }

  /** The images shown, from the left. */
  function shownImages() {
    return [imageOn(0), imageOn(1)].filter(Boolean);
  }

  function layerOf(image, name) {
    return image.layers.find((layer) => layer.name === name);
  }

  /** The image and the layer whose rows, columns and objects the sliders go by. */
  function leading() {
    return shownImages().find((image) => layerOf(image, state.layer));
  }

  function leadingLayer() {
    return layerOf(leading(), state.layer);
  }

  /** The number of the chosen object, from 1 on; 0 where none is. */
  function objectNumber() {
    return Number($("object").value);
  }

  const decoded = new WeakMap();

  function unpacked(layer) {
    if (!decoded.has(layer)) decoded.set(layer, geometry.decodeLayer(layer));
    return decoded.get(layer);
  }

  /** The chain of at most `length` layers that ends in the named one; undefined where the network has none of that name. */
  function chainOf(image, name, length) {
    return layerOf(image, name)?.chains.slice(0, length).at(-1).map((index) => unpacked(image.layers[index]));
  }

  /** The group to show of a layer; all where it has none of that number. */
  function shownGroup(layer) {
    return state.group < layer.groups ? state.group : ALL;
  }

  /** The query point in pixels of an image, whose first pixel's centre is at 0. */
  function queryPointOn(image) {
    return { y: state.queryPoint.y * image.size[0] - 0.5, x: state.queryPoint.x * image.size[1] - 0.5 };
  }

  /** A position in pixels of an image as a share of its height and width. */
  function shareOf(image, { y, x }) {
    return { y: (y + 0.5) / image.size[0], x: (x + 0.5) / image.size[1] };
  }

  /** The layer's output pixel nearest to a position in the image. */
  function outputAt(layer, position) {
    return [
      geometry.nearest(layer.outputGrid, position.y, 0, layer.output[0]),
      geometry.nearest(layer.outputGrid, position.x, 1, layer.output[1]),
    ];
  }

  /** The centre of an output pixel of the layer in the image. */
  function centreOf(layer, [row, column]) {
    return { y: geometry.toImage(layer.outputGrid, row, 0), x: geometry.toImage(layer.outputGrid, column, 1) };
  }

  /** Convert points on a feature map to points in the image. */
  function inImage(points, grid) {
    return { ...points, y: points.y.map((y) => geometry.toImage(grid, y, 0)), x: points.x.map((x) => geometry.toImage(grid, x, 1)) };
  }

  /** The sampling points of the chain for a position in the image, weakest first, and their statistics. */
  function sampling(chain, position) {
    const last = chain.at(-1), output = outputAt(last, position), centre = centreOf(last, output), group = shownGroup(last);
    const found = geometry.points(chain, ...output, POINTS_PER_GROUP * last.groups);
    const order = [...found.y.keys()].filter((i) => group === ALL || found.group[i] === group);
    const weakestFirst = order.sort((a, b) => found.strength[a] - found.strength[b]);
    const dots = inImage(geometry.chosen(found, weakestFirst), chain[0].inputGrid);
    const outside = dots.inside.reduce((count, inside) => count + (inside ? 0 : 1), 0);
    return { dots, output, centre, outside, reach: reachOf(dots, centre) };
  }

  /** How far the dots that read the feature map are from their centre: the root of the mean square, weighted by strength. */
  function reachOf(dots, centre) {
    let strength = 0, spread = 0;
    for (let i = 0; i < dots.count; i++) {
      const square = (dots.y[i] - centre.y) ** 2 + (dots.x[i] - centre.x) ** 2;
      if (!dots.inside[i] || Number.isNaN(square)) continue;
      strength += dots.strength[i];
      spread += dots.strength[i] * square;
    }
    return strength > 0 ? Math.sqrt(spread / strength) : 0;
  }

  // ---- drawing ----

  const pictures = new Map();

  /** The picture as an element, which is drawn once it has loaded. */
  function picture(index) {
    if (!pictures.has(index)) {
      const element = new Image();
      element.onload = requestDraw;
      element.src = data.pictures[index];
      pictures.set(index, element);
    }
    return pictures.get(index);
  }

  function drawPanel(panel) {
    const image = imageOn(panel.side);
    if (!image) return;
    const context = drawing.cleared(panel.canvas), view = drawing.viewOf(panel.canvas, image);
    drawing.picture(context, view, image, picture(image.picture), $("dim").checked);
    const chain = chainOf(image, state.layer, state.length), queryPoint = queryPointOn(image);
    if (chain) {
      const found = sampling(chain, queryPoint);
      if ($("plain").checked) drawUndeformed(context, view, chain, found);
      drawing.dots(context, view, found.dots, DOTS[chain.length - 1]);
      drawing.cross(context, view, found.centre, state.pinned);
      panel.summary.textContent = summary(chain, found);
    } else {
      panel.summary.textContent = "This run was not recorded at this layer.";
    }
    const object = image.objects[objectNumber() - 1];
    if (object) drawing.object(context, view, object);
    for (const card of panel.cards) drawCard(card, image, queryPoint);
  }

  /** Draw where the same layers without offsets would read; for one layer, with lines to the moved points. */
  function drawUndeformed(context, view, chain, found) {
    const plain = inImage(geometry.points(geometry.undeformed(chain), ...found.output, Infinity), chain[0].inputGrid);
    if (chain.length === 1 && chain[0].offset) drawing.moves(context, view, plain, found.dots);
    drawing.squares(context, view, plain, SQUARES[chain.length - 1]);
  }

  function summary(chain, { dots, output, centre, outside, reach }) {
    const layers = chain.length > 1 ? ` through ${chain.length} layers` : "";
    const padding = outside ? `, ${outside} of them on padding only` : "";
    return `Output ${output.join(", ")} at y ${centre.y.toFixed()}, x ${centre.x.toFixed()}: ${dots.count} points${layers}${padding}; reach ${reach.toFixed(1)} px`;
  }

  function drawCard(card, image, queryPoint) {
    const context = drawing.cleared(card.canvas), view = drawing.viewOf(card.canvas, image);
    const found = sampling([unpacked(card.layer)], queryPoint);
    drawing.picture(context, view, image, picture(image.picture), $("dim").checked);
    drawing.dots(context, view, found.dots, CARD_DOTS);
    card.reach.textContent = `reach ${found.reach.toFixed(1)} px`;
  }

  function draw() {
    panels.forEach(drawPanel);
  }

  let waiting = false;

  /** Draw before the next frame, once however much has changed until then. */
  function requestDraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  // ---- panels ----

  const panels = [0, 1].map((side) => {
    const root = $("panel").content.firstElementChild.cloneNode(true);
    $("panels").append(root);
    const panel = { side, root, cards: [], shown: null };
    for (const [name, selector] of Object.entries({ heading: "h2", canvas: ".picture", summary: ".summary", layers: ".layers" })) {
      panel[name] = root.querySelector(selector);
    }
    return panel;
  });

  /** Bring a panel in line with the chosen run and image. */
  function refreshPanel(panel) {
    const run = data.runs[state.runs[panel.side]], image = imageOn(panel.side);
    panel.root.hidden = !run;
    if (!run) return;
    panel.heading.textContent = run.name;
    panel.canvas.setAttribute("aria-label", `Sampling points of ${run.name} on ${state.image}`);
    panel.canvas.hidden = !image;
    if (image) panel.root.style.setProperty("--aspect", drawing.aspect(image));
    if (!image) panel.summary.textContent = "This run was not recorded on this image.";
    if (panel.shown !== image) dealCards(panel, image);
    const through = image && new Set(chainOf(image, state.layer, state.length)?.map((layer) => layer.name));
    for (const { button, layer } of panel.cards) {
      button.setAttribute("aria-pressed", layer.name === state.layer);
      button.classList.toggle("through", through.has(layer.name));
      if (layer.name === state.layer) panel.layers.scrollLeft = button.offsetLeft - (panel.layers.clientWidth - button.offsetWidth) / 2;
    }
  }

  /** One card for each layer of the image. */
  function dealCards(panel, image) {
    panel.shown = image;
    panel.cards = (image?.layers ?? []).map((layer) => {
      const button = $("card").content.firstElementChild.cloneNode(true);
      button.querySelector(".name").textContent = short(layer.name);
      button.title = layer.name;
      button.addEventListener("click", () => choose({ layer: layer.name }));
      return { layer, button, canvas: button.querySelector("canvas"), reach: button.querySelector(".reach") };
    });
    panel.layers.replaceChildren(...panel.cards.map((card) => card.button));
  }

  /** A layer's name as pictures and tables have it. */
  function short(name) {
    return name.replace(/^backbone\./, "");
  }

  function layerNames() {
    return [...new Set(shownImages().flatMap((image) => image.layers.map((layer) => layer.name)))];
  }

  // ---- controls ----

  /** Fill a list; options are pairs of value and text. */
  function fillSelect(select, options, chosen) {
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    select.value = chosen;
  }

  /** One radio button for each choice, kept where the choices are the same as before so that the focus stays. */
  function fillChoices(box, choices, chosen, pick) {
    const wanted = JSON.stringify(choices.map(({ value, text }) => [value, text]));
    if (box.dataset.choices !== wanted) {
      box.dataset.choices = wanted;
      box.replaceChildren(...choices.map(({ value, text, colour }) => {
        const label = document.createElement("label"), radio = document.createElement("input");
        Object.assign(radio, { type: "radio", name: box.id, value });
        radio.addEventListener("change", () => pick(value));
        label.append(radio);
        if (colour) label.append(Object.assign(document.createElement("i"), { style: `background: ${colour}` }));
        label.append(text);
        return label;
      }));
    }
    choices.forEach(({ value, disabled }, i) => {
      Object.assign(box.querySelectorAll("input")[i], { checked: value === chosen, disabled: Boolean(disabled) });
    });
  }

  /** Bring all controls in line with `state`, and draw. */
  function refresh() {
    const names = layerNames();
    if (!names.includes(state.layer)) state.layer = names.at(-1);
    fillSelect($("left"), data.runs.map((run, i) => [i, run.name]), state.runs[0]);
    fillSelect($("right"), [[NONE, "none"], ...data.runs.map((run, i) => [i, run.name])], state.runs[1]);
    fillSelect($("image"), imageNames.map((name) => [name, name]), state.image);
    fillSelect($("layer"), names.map((name) => [name, short(name)]), state.layer);
    const longest = longestChain(), groups = mostGroups();
    state.length = Math.min(state.length, longest);
    if (state.group >= groups) state.group = ALL;
    fillChoices($("length"), DOTS.map((_, i) => ({ value: i + 1, text: ["1 layer", "2 layers", "3 layers"][i], disabled: i >= longest })),
      state.length, (length) => choose({ length }));
    fillChoices($("group"), [{ value: ALL, text: "all" }, ...Array.from({ length: groups }, (_, i) => ({ value: i, text: `${i + 1}`, colour: drawing.colourOf(i) }))],
      state.group, (group) => choose({ group }));
    $("object-slider").hidden = !leading()?.objects.length;
    panels.forEach(refreshPanel);
    moved();
  }

  /** The chosen layer in each image that has it. */
  function shownLayers() {
    return shownImages().map((image) => layerOf(image, state.layer)).filter(Boolean);
  }

  function longestChain() {
    return Math.max(1, ...shownLayers().map((layer) => layer.chains.length));
  }

  function mostGroups() {
    return Math.max(1, ...shownLayers().map((layer) => layer.groups));
  }

  /** Change what is chosen. */
  function choose(changes) {
    Object.assign(state, changes);
    if ("image" in changes || "runs" in changes) $("object").value = 0;
    refresh();
    announce();
  }

  /** The query point has changed: show it on the sliders, and draw. */
  function moved() {
    const image = leading();
    if (!image) return requestDraw();
    const layer = leadingLayer(), output = outputAt(layer, queryPointOn(image));
    [$("row"), $("column")].forEach((slider, axis) => {
      slider.max = layer.output[axis] - 1;
      slider.value = output[axis];
      slider.nextElementSibling.textContent = `${output[axis]} / ${layer.output[axis]}`;
    });
    const object = image.objects[objectNumber() - 1];
    $("object").max = image.objects.length;
    $("object").nextElementSibling.textContent = object ? `${objectNumber()} / ${image.objects.length} ${object.name}` : `of ${image.objects.length}`;
    $("object").setAttribute("aria-valuetext", object ? object.name : "none");
    $("pinned").checked = state.pinned;
    requestDraw();
  }

  /** Move the query point to a position in pixels of an image. */
  function moveTo(image, position) {
    state.queryPoint = shareOf(image, position);
    moved();
  }

  function moveToOutput(output) {
    moveTo(leading(), centreOf(leadingLayer(), output));
    announce();
  }

  function moveToObject(number) {
    $("object").value = number;
    const image = leading(), box = image?.objects[number - 1]?.box;
    if (box) {
      state.pinned = true;
      state.queryPoint = { y: (box[1] + box[3]) / 2 / image.size[0], x: (box[0] + box[2]) / 2 / image.size[1] };
    }
    moved();
    announce();
  }

  /** Tell those who do not see it, once it is drawn. */
  function announce() {
    requestAnimationFrame(() => {
      $("status").textContent = panels.filter((panel) => !panel.root.hidden).map((panel) => `${panel.heading.textContent}: ${panel.summary.textContent}`).join(". ");
    });
  }

  $("left").addEventListener("change", (event) => choose({ runs: [Number(event.target.value), state.runs[1]] }));
  $("right").addEventListener("change", (event) => choose({ runs: [state.runs[0], Number(event.target.value)] }));
  $("image").addEventListener("change", (event) => choose({ image: event.target.value }));
  $("layer").addEventListener("change", (event) => choose({ layer: event.target.value }));
  $("object").addEventListener("input", (event) => moveToObject(Number(event.target.value)));
  $("row").addEventListener("input", () => moveToOutput([Number($("row").value), Number($("column").value)]));
  $("column").addEventListener("input", () => moveToOutput([Number($("row").value), Number($("column").value)]));
  $("pinned").addEventListener("change", (event) => choose({ pinned: event.target.checked }));
  $("plain").addEventListener("change", requestDraw);
  $("dim").addEventListener("change", requestDraw);
  $("help").addEventListener("click", () => $("keys").showModal());

  // ---- mouse and touch ----

  for (const panel of panels) {
    const follow = (event) => {
      const image = imageOn(panel.side), box = panel.canvas.getBoundingClientRect(), view = drawing.viewOf(panel.canvas, image);
      const at = [view.from((event.clientY - box.top) * view.ratio), view.from((event.clientX - box.left) * view.ratio)];
      const [y, x] = at.map((position, axis) => Math.min(Math.max(position, 0), image.size[axis] - 1));
      moveTo(image, { y, x });
    };
    panel.canvas.addEventListener("pointermove", (event) => {
      if (!state.pinned || (event.buttons && event.pointerType !== "mouse")) follow(event);
    });
    panel.canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse") state.pinned = !state.pinned;
      follow(event);
    });
    new ResizeObserver(requestDraw).observe(panel.canvas);
  }

  // ---- keyboard ----

  /** What comes after `now` in a list, or before it. */
  function next(list, now, step) {
    return list[(list.indexOf(now) + step + list.length) % list.length];
  }

  const runNumbers = data.runs.map((_, i) => i);
  const keys = {
    l: (step) => choose({ layer: next(layerNames(), state.layer, step) }),
    c: (step) => choose({ length: next([1, 2, 3].slice(0, longestChain()), state.length, step) }),
    g: (step) => choose({ group: next([ALL, ...Array(mostGroups()).keys()], state.group, step) }),
    r: (step) => choose({ runs: [state.runs[0], next([NONE, ...runNumbers], state.runs[1], step)] }),
    i: (step) => choose({ image: next(imageNames, state.image, step) }),
    o: (step) => moveToObject(next([...Array((leading()?.objects.length ?? 0) + 1).keys()], objectNumber(), step)),
    p: () => $("plain").click(),
    d: otherTheme,
    "?": () => $("keys").showModal(),
  };
  const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  function step([down, right], times) {
    if (!leading()) return;
    const layer = leadingLayer(), output = outputAt(layer, queryPointOn(leading()));
    state.pinned = true; // or else the resting mouse moves the query point back
    moveToOutput([down, right].map((by, axis) => Math.min(Math.max(output[axis] + by * times, 0), layer.output[axis] - 1)));
  }

  document.addEventListener("keydown", (event) => {
    const takesKeys = event.target.matches("select, input[type=range], input[type=radio]"), arrow = arrows[event.key];
    if ($("keys").open || event.ctrlKey || event.altKey || event.metaKey) return;
    if (arrow && !takesKeys) step(arrow, event.shiftKey ? 4 : 1);
    else if (event.key === "Enter" && event.target.matches(".picture")) choose({ pinned: !state.pinned });
    else if (keys[event.key.toLowerCase()] && !event.target.matches("select")) keys[event.key.toLowerCase()](event.shiftKey ? -1 : 1);
    else return;
    event.preventDefault();
  });

  /** How far the page's numbers may be from the network's. */
  function accuracy() {
    const layers = data.runs.flatMap((run) => run.images.flatMap((image) => image.layers));
    const most = (kind) => (Math.max(0, ...layers.map((layer) => layer[kind]?.step ?? 0)) / 2).toPrecision(2);
    return `Offsets are right to ${most("offset")} pixels of a layer's input feature map, masks to ${most("mask")}. Of more than ${POINTS_PER_GROUP} points per group the strongest are shown, those that read only padding last.`;
  }

  $("accuracy").textContent = accuracy();
  refresh();
  window.dcnrun = { ...geometry, data };
})();
