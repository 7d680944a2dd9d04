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
  const POINTS = "points"; // what is shown unless it is a RoI pooling
  const ZOOM_STEP = 1.5;
  const EDGE = 0.1; // of what is seen of a picture: the query point is kept so far inside when it moves without the pointer
  const GAP = 16, HEADING = 24; // CSS pixels between the pictures of an SVG file, and above them

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
    shown: POINTS, // or the name of a RoI pooling, whose bins are shown
    box: null, // of the object or region that the query point was moved to, in the same shares; its region is shown
    viewport: geometry.WHOLE, // the part of the pictures that is seen
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

  /** The chosen RoI pooling of an image; undefined where sampling points are shown, or the network has none of that name. */
  function poolOf(image) {
    return image.pools.find((pool) => pool.name === state.shown);
  }

  /** The image whose objects and regions the sliders go by, and in which the query point moves. */
  function leading() {
    const images = shownImages();
    return images.find((image) => layerOf(image, state.layer)) ?? images[0];
  }

  /** The layer whose rows and columns the sliders go by, if there is one. */
  function leadingLayer() {
    const image = leading();
    return image && layerOf(image, state.layer);
  }

  /** The number of the chosen object, from 1 on; 0 where none is. */
  function objectNumber() {
    return Number($("object").value);
  }

  const decoded = new WeakMap();

  /** A layer or RoI pooling as one of geometry's functions unpacks it, once. */
  function unpackedBy(decode, packed) {
    if (!decoded.has(packed)) decoded.set(packed, decode(packed));
    return decoded.get(packed);
  }

  function unpacked(layer) {
    return unpackedBy(geometry.decodeLayer, layer);
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

  /** A box as shares of the height and width as one in pixels of an image, whose first pixel's centre is at 0. */
  function boxOn(image, box) {
    return box.map((share, i) => share * image.size[i % 2 ? 0 : 1] - 0.5);
  }

  /** The number of the region to show of a RoI pooling: that of the object or region moved to, else the first at the query point. */
  function regionOn(image, pool) {
    return state.box ? geometry.regionLike(pool, boxOn(image, state.box)) : geometry.regionAt(pool, queryPointOn(image));
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
    panel.summary.textContent = paintPanel(drawing.cleared(panel.canvas), image);
    for (const card of panel.cards) drawCard(card, image, queryPointOn(image));
  }

  /** Paint what is chosen of an image, and tell it in words. */
  function paintPanel(context, image) {
    const view = drawing.viewOf(context.canvas, image, state.viewport);
    drawing.picture(context, view, image, picture(image.picture), $("dim").checked);
    const said = state.shown === POINTS ? paintPoints(context, view, image) : paintRegion(context, view, image);
    const object = image.objects[objectNumber() - 1];
    if (object) drawing.object(context, view, object);
    return said;
  }

  function paintPoints(context, view, image) {
    const chain = chainOf(image, state.layer, state.length);
    if (!chain) return "This run was not recorded at this layer.";
    const found = sampling(chain, queryPointOn(image));
    if ($("plain").checked) drawUndeformed(context, view, chain, found);
    drawing.dots(context, view, found.dots, DOTS[chain.length - 1]);
    drawing.cross(context, view, found.centre, state.pinned);
    return summary(chain, found);
  }

  function paintRegion(context, view, image) {
    const packed = poolOf(image);
    if (!packed) return "This run has no such RoI pooling.";
    const pool = unpackedBy(geometry.decodePool, packed), number = regionOn(image, pool);
    drawing.cross(context, view, queryPointOn(image), state.pinned);
    if (number < 0) return `None of ${pool.boxes.length} regions is here.`;
    const found = geometry.bins(pool, number);
    drawing.region(context, view, found);
    return regionSummary(pool, number, found);
  }

  function regionSummary(pool, number, { box, plain, moved }) {
    const [left, top, right, bottom] = box.map((side) => side.toFixed());
    const squares = plain.y.map((y, i) => (moved.y[i] - y) ** 2 + (moved.x[i] - plain.x[i]) ** 2).filter((square) => !Number.isNaN(square));
    const by = Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / Math.max(squares.length, 1)).toFixed(1);
    return `Region ${number + 1} of ${pool.boxes.length} at y ${top} to ${bottom}, x ${left} to ${right}: ${pool.bins.join(" x ")} bins${pool.moves ? `, moved by ${by} px` : " that do not move"}`;
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
    panel.canvas.setAttribute("aria-label", `${state.shown === POINTS ? "Sampling points" : `Bins of ${state.shown}`} of ${run.name} on ${state.image}`);
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
      button.addEventListener("click", () => choose({ layer: layer.name, shown: POINTS }));
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

  function poolNames() {
    return [...new Set(shownImages().flatMap((image) => image.pools.map((pool) => pool.name)))];
  }

  /** What there is to show: sampling points where a layer was recorded, and the bins of each RoI pooling. */
  function kinds() {
    return [...(layerNames().length ? [POINTS] : []), ...poolNames()];
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
    if (!kinds().includes(state.shown)) state.shown = kinds()[0] ?? POINTS;
    fillChoices($("shown"), kinds().map((kind) => ({ value: kind, text: kind === POINTS ? "sampling points" : `bins of ${kind}` })),
      state.shown, (shown) => choose({ shown }));
    for (const part of document.querySelectorAll("[data-of]")) part.hidden = (part.dataset.of === POINTS) !== (state.shown === POINTS);
    $("kinds").hidden = kinds().length < 2;
    const longest = longestChain(), groups = mostGroups();
    state.length = Math.min(state.length, longest);
    if (state.group >= groups) state.group = ALL;
    fillChoices($("length"), DOTS.map((_, i) => ({ value: i + 1, text: ["1 layer", "2 layers", "3 layers"][i], disabled: i >= longest })),
      state.length, (length) => choose({ length }));
    fillChoices($("group"), [{ value: ALL, text: "all" }, ...Array.from({ length: groups }, (_, i) => ({ value: i, text: `${i + 1}`, colour: drawing.colourOf(i) }))],
      state.group, (group) => choose({ group }));
    $("object-slider").hidden = !leading()?.objects.length;
    for (const id of ["row", "column"]) $(id).parentElement.hidden = !leadingLayer();
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
    if ("image" in changes || "runs" in changes) {
      $("object").value = 0;
      state.box = null;
    }
    refresh();
    announce();
  }

  /** The query point has changed: show it on the sliders, and draw. */
  function moved() {
    const image = leading(), layer = leadingLayer();
    $("whole").textContent = `${Math.round(100 * state.viewport.factor)} %`;
    $("pinned").checked = state.pinned;
    requestDraw();
    if (layer) {
      const output = outputAt(layer, queryPointOn(image));
      [$("row"), $("column")].forEach((slider, axis) => setSlider(slider, output[axis], layer.output[axis] - 1, `${output[axis]} / ${layer.output[axis]}`));
    }
    if (!image) return;
    const object = image.objects[objectNumber() - 1], pool = poolOf(image);
    setSlider($("object"), objectNumber(), image.objects.length, object ? `${objectNumber()} / ${image.objects.length} ${object.name}` : `of ${image.objects.length}`);
    $("object").setAttribute("aria-valuetext", object ? object.name : "none");
    if (pool) setSlider($("region"), regionOn(image, pool) + 1, pool.boxes.length, `${regionOn(image, pool) + 1 || "none"} / ${pool.boxes.length}`);
  }

  function setSlider(slider, value, most, text) {
    slider.max = most;
    slider.value = value;
    slider.nextElementSibling.textContent = text;
  }

  /** Move the query point to a position in pixels of an image. */
  function moveTo(image, position) {
    Object.assign(state, { queryPoint: shareOf(image, position), box: null });
    moved();
  }

  function moveToOutput(output) {
    moveTo(leading(), centreOf(leadingLayer(), output));
    bringIntoSight();
    announce();
  }

  /** Move the query point to the middle of a box, in shares of the height and width, and stay there. */
  function moveToBox(box) {
    const [left, top, right, bottom] = box;
    Object.assign(state, { pinned: true, queryPoint: { y: (top + bottom) / 2, x: (left + right) / 2 }, box });
    bringIntoSight();
  }

  function moveToObject(number) {
    $("object").value = number;
    const image = leading(), box = image?.objects[number - 1]?.box;
    state.box = null;
    if (box) moveToBox(box.map((edge, i) => edge / image.size[i % 2 ? 0 : 1]));
    moved();
    announce();
  }

  function moveToRegion(number) {
    const image = leading(), box = poolOf(image)?.boxes[number - 1];
    if (box) moveToBox(box.map((edge, i) => (edge + 0.5) / image.size[i % 2 ? 0 : 1]));
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
  $("region").addEventListener("input", (event) => moveToRegion(Number(event.target.value)));
  $("row").addEventListener("input", () => moveToOutput([Number($("row").value), Number($("column").value)]));
  $("column").addEventListener("input", () => moveToOutput([Number($("row").value), Number($("column").value)]));
  $("pinned").addEventListener("change", (event) => choose({ pinned: event.target.checked }));
  $("plain").addEventListener("change", requestDraw);
  $("dim").addEventListener("change", requestDraw);
  $("help").addEventListener("click", () => $("keys").showModal());
  $("out").addEventListener("click", () => zoomBy(1 / ZOOM_STEP));
  $("whole").addEventListener("click", () => see(geometry.WHOLE));
  $("in").addEventListener("click", () => zoomBy(ZOOM_STEP));
  $("save").addEventListener("click", save);

  // ---- zoom ----

  /** Show another viewport; returns whether it is another. */
  function see(viewport) {
    const changed = ["factor", "y", "x"].some((key) => viewport[key] !== state.viewport[key]);
    state.viewport = viewport;
    if (changed) moved();
    return changed;
  }

  /** Where the query point is on a picture, in shares of what is seen. */
  function queryPlace() {
    const image = leading();
    return image ? drawing.viewOf(panels[0].canvas, image, state.viewport).share(queryPointOn(image)) : { y: 0.5, x: 0.5 };
  }

  /** Zoom without the pointer: the query point comes to the middle, unless it is out of sight. */
  function zoomBy(factor) {
    const place = queryPlace(), inSight = Object.values(place).every((share) => share >= 0 && share <= 1), middle = { y: 0.5, x: 0.5 };
    see(geometry.zoomed(state.viewport, factor, inSight ? place : middle, middle));
  }

  /** See the query point, which has moved without the pointer. */
  function bringIntoSight() {
    const inside = (share) => Math.min(Math.max(share, EDGE), 1 - EDGE), place = queryPlace();
    see(geometry.zoomed(state.viewport, 1, place, { y: inside(place.y), x: inside(place.x) }));
  }

  // ---- mouse and touch ----

  for (const panel of panels) {
    const follow = (place) => {
      const image = imageOn(panel.side), at = drawing.viewOf(panel.canvas, image, state.viewport).from(place);
      const [y, x] = [at.y, at.x].map((position, axis) => Math.min(Math.max(position, 0), image.size[axis] - 1));
      moveTo(image, { y, x });
    };
    gestures.listen(panel.canvas, {
      point: (place, pressed) => {
        if (pressed || !state.pinned) follow(place);
      },
      click: (place) => {
        state.pinned = !state.pinned;
        follow(place);
      },
      zoom: (factor, from, to) => see(geometry.zoomed(state.viewport, factor, from, to)),
    });
    new ResizeObserver(requestDraw).observe(panel.canvas);
  }

  // ---- saving ----

  /** Save what is seen as an SVG file. */
  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([asSvg()], { type: "image/svg+xml" }));
    link.download = `${short(state.shown === POINTS ? state.layer : state.shown)}.svg`.replace(/[^\w.-]+/g, "-");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000); // once it is saved
  }

  /** The pictures as they are seen, beside each other, as the text of an SVG file. */
  function asSvg() {
    const page = getComputedStyle(document.body), parts = [], said = [];
    let left = 0, height = 0;
    for (const panel of panels.filter((panel) => imageOn(panel.side))) {
      const part = svgPart(panel, left, page.color);
      parts.push(part);
      said.push([...part.querySelectorAll(":scope > title, :scope > desc")].map((each) => each.textContent).join(": "));
      left += panel.canvas.clientWidth + GAP;
      height = Math.max(height, HEADING + panel.canvas.clientHeight);
    }
    const width = left - GAP, what = state.shown === POINTS ? `Sampling points of ${state.layer}` : `Bins of ${state.shown}`;
    return svg.file(svg.element("svg", { width, height, viewBox: `0 0 ${width} ${height}` },
      svg.element("title", {}, `${what} on ${state.image}`), svg.element("desc", {}, said.join("\n")),
      svg.element("rect", { width, height, fill: page.backgroundColor }), ...parts));
  }

  /** A panel's picture with its heading, so far from the left. */
  function svgPart(panel, left, ink) {
    const { clientWidth: width, clientHeight: height } = panel.canvas, clip = `picture-${panel.side}`, name = panel.heading.textContent;
    const shapes = svg.element("g", { "clip-path": `url(#${clip})` }), context = new svg.Context(shapes, width, height);
    context.fillStyle = getComputedStyle(panel.canvas).backgroundColor;
    context.fillRect(0, 0, width, height);
    const said = paintPanel(context, imageOn(panel.side));
    return svg.element("g", { transform: `translate(${left} ${HEADING})` }, svg.element("title", {}, name), svg.element("desc", {}, said),
      svg.element("clipPath", { id: clip }, svg.element("rect", { width, height })), shapes,
      svg.element("text", { y: -8, "font-size": 15, "font-family": "system-ui, sans-serif", fill: ink }, name));
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
    b: (step) => choose({ shown: next(kinds(), state.shown, step) }),
    o: (step) => moveToObject(next([...Array((leading()?.objects.length ?? 0) + 1).keys()], objectNumber(), step)),
    p: () => $("plain").click(),
    d: otherTheme,
    s: save,
    "+": () => zoomBy(ZOOM_STEP),
    "=": () => zoomBy(ZOOM_STEP), // + without Shift on many keyboards
    "-": () => zoomBy(1 / ZOOM_STEP),
    0: () => see(geometry.WHOLE),
    "?": () => $("keys").showModal(),
  };
  const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  function step([down, right], times) {
    const layer = leadingLayer();
    if (!layer) return;
    const output = outputAt(layer, queryPointOn(leading()));
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
  window.dcnrun = { ...geometry, data, asSvg };
})();
