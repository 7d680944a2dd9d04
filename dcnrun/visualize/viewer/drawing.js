/*
 * Drawing on a canvas, or into an SVG file (svg.js). Positions are in pixels of the image, which a view (`viewOf`) converts to the
 * canvas; sizes are in CSS pixels. It does not depend on what is chosen.
 */
const drawing = (() => {
  // Okabe and Ito's colours, which any colour vision can distinguish.
  const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2"];
  const DARK = "#000b";
  const MARGIN = 0.1; // around the picture, as a share of its longer side
  const SMALLEST_DOT = 1.5;
  const BLOCKY = 8; // CSS pixels from which on a pixel of the image is drawn as a square
  const BIN_SHARE = 0.45; // drawn of a bin's side: whole bins would hide each other
  const BIN_COLOUR = COLOURS[1];

  /** The colour of an offset group. */
  function colourOf(group) {
    return COLOURS[group % COLOURS.length];
  }

  /** How image pixels lie on a canvas, which shows a viewport (see geometry.js) on the image and its margin. */
  function viewOf(canvas, image, viewport = geometry.WHOLE) {
    const margin = MARGIN * Math.max(...image.size), ratio = canvas.width / canvas.clientWidth || 1;
    const [height, width] = image.size.map((side) => side + 2 * margin), scale = (canvas.width / width) * viewport.factor;
    return {
      scale,
      ratio,
      y: (position) => (position + 0.5 + margin - viewport.y * height) * scale,
      x: (position) => (position + 0.5 + margin - viewport.x * width) * scale,
      /** The position in the image of a place on the canvas, in shares of its height and width. */
      from: ({ y, x }) => ({ y: (y / viewport.factor + viewport.y) * height - margin - 0.5, x: (x / viewport.factor + viewport.x) * width - margin - 0.5 }),
      /** The place of a position, likewise. */
      share: ({ y, x }) => ({ y: ((y + 0.5 + margin) / height - viewport.y) * viewport.factor, x: ((x + 0.5 + margin) / width - viewport.x) * viewport.factor }),
    };
  }

  /** Give a canvas as many pixels as the screen has there, and clear it. */
  function cleared(canvas) {
    const width = Math.round(canvas.clientWidth * devicePixelRatio), height = Math.round(canvas.clientHeight * devicePixelRatio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    return context;
  }

  /** Width by height of an image with its margin. */
  function aspect(image) {
    const margins = 2 * MARGIN * Math.max(...image.size);
    return (image.size[1] + margins) / (image.size[0] + margins);
  }

  /** A picture (an image element, perhaps still loading) inside the margin. */
  function picture(context, view, image, element, dimmed) {
    const at = [view.x(-0.5), view.y(-0.5), image.size[1] * view.scale, image.size[0] * view.scale];
    context.imageSmoothingEnabled = view.scale < BLOCKY * view.ratio;
    if (element.complete) context.drawImage(element, ...at);
    if (dimmed) {
      context.fillStyle = "#0007";
      context.fillRect(...at);
    }
  }

  /** Dots at points in image pixels, weakest first: rings where only padding is read, arrowheads at the edge for those farther out. */
  function dots(context, view, points, { largest, rim }) {
    const strongest = points.strength[points.count - 1] || 1, edge = Math.max(largest, 4) * view.ratio;
    const { width, height } = context.canvas;
    for (let i = 0; i < points.count; i++) {
      const y = view.y(points.y[i]), x = view.x(points.x[i]), share = Math.sqrt(points.strength[i] / strongest);
      if (Number.isNaN(y + x)) continue;
      const nearY = Math.min(Math.max(y, edge), height - edge), nearX = Math.min(Math.max(x, edge), width - edge);
      const colour = colourOf(points.group[i]), radius = Math.max(Math.round(4 * largest * share) / 4, SMALLEST_DOT) * view.ratio;
      context.globalAlpha = 0.3 + 0.7 * share;
      if (y === nearY && x === nearX) {
        const paint = points.inside[i] ? dot : ring;
        paint(context, x, y, colour, radius, rim * view.ratio);
      } else {
        arrowhead(context, nearX, nearY, Math.atan2(y - nearY, x - nearX), edge, colour);
      }
    }
    context.globalAlpha = 1;
  }

  const stamps = new Map();

  /**
   * Paint something small, which reaches so far, around (x, y): on a canvas by a picture that is made once for all of the
   * thousands of dots that look the same.
   */
  function stamp(context, x, y, key, reach, paint) {
    if (context.isVector) {
      context.save();
      context.translate(x, y);
      paint(context);
      context.restore();
      return;
    }
    if (!stamps.has(key)) {
      const canvas = new OffscreenCanvas(2 * Math.ceil(reach + 1), 2 * Math.ceil(reach + 1)), own = canvas.getContext("2d");
      own.translate(canvas.width / 2, canvas.height / 2);
      paint(own);
      stamps.set(key, canvas);
    }
    const picture = stamps.get(key);
    context.drawImage(picture, x - picture.width / 2, y - picture.height / 2);
  }

  /** A disc, with a dark rim that sets it off from any picture. */
  function dot(context, x, y, colour, radius, rim) {
    stamp(context, x, y, ["dot", colour, radius, rim].join(), radius + rim, (own) => {
      for (const [size, ink] of [[radius + rim, DARK], [radius, colour]]) {
        own.beginPath();
        own.arc(0, 0, size, 0, 2 * Math.PI);
        own.fillStyle = ink;
        own.fill();
      }
    });
  }

  /** A ring, likewise. */
  function ring(context, x, y, colour, radius, rim) {
    const middle = Math.max(radius, 4 * rim), line = 1 + rim;
    stamp(context, x, y, ["ring", colour, radius, rim].join(), middle + line, (own) => {
      own.beginPath();
      own.arc(0, 0, middle, 0, 2 * Math.PI);
      outline(own, line, colour, rim);
    });
  }

  /** Draw the path as a line with a dark rim. */
  function outline(context, line, colour, rim) {
    context.strokeStyle = DARK;
    context.lineWidth = line + 2 * rim;
    context.stroke();
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.stroke();
  }

  /** A triangle that points where the dot is. */
  function arrowhead(context, x, y, direction, size, colour) {
    context.beginPath();
    for (const turn of [0, 2.3, -2.3]) context.lineTo(x + size * Math.cos(direction + turn), y + size * Math.sin(direction + turn));
    context.closePath();
    context.strokeStyle = DARK;
    context.stroke();
    context.fillStyle = colour;
    context.fill();
  }

  /** Squares at the points of the undeformed grid. */
  function squares(context, view, points, side) {
    const length = side * view.ratio, drawn = new Set();
    context.fillStyle = "#fff";
    context.strokeStyle = DARK;
    context.lineWidth = view.ratio;
    for (let i = 0; i < points.count; i++) {
      const corner = [view.x(points.x[i]) - length / 2, view.y(points.y[i]) - length / 2], key = corner.join();
      if (drawn.has(key)) continue; // many paths lead to the same point
      drawn.add(key);
      context.fillRect(...corner, length, length);
      context.strokeRect(...corner, length, length);
    }
  }

  /** Lines from the points of the undeformed grid to where their offsets moved them. */
  function moves(context, view, plain, points) {
    context.lineWidth = 1.5 * view.ratio;
    context.globalAlpha = 0.8;
    for (let i = 0; i < points.count; i++) {
      const kernelPoint = points.path[i] % plain.count;
      context.strokeStyle = colourOf(points.group[i]);
      context.beginPath();
      context.moveTo(view.x(plain.x[kernelPoint]), view.y(plain.y[kernelPoint]));
      context.lineTo(view.x(points.x[i]), view.y(points.y[i]));
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  /** A cross at a position, in a circle if it is pinned. */
  function cross(context, view, { y, x }, pinned) {
    const arm = 9 * view.ratio, gap = 3 * view.ratio;
    context.beginPath();
    for (const [down, right] of [[0, 1], [0, -1], [1, 0], [-1, 0]]) {
      context.moveTo(view.x(x) + right * gap, view.y(y) + down * gap);
      context.lineTo(view.x(x) + right * arm, view.y(y) + down * arm);
    }
    if (pinned) {
      context.moveTo(view.x(x) + arm + gap, view.y(y));
      context.arc(view.x(x), view.y(y), arm + gap, 0, 2 * Math.PI);
    }
    outline(context, 2 * view.ratio, "#fff", view.ratio);
  }

  /** The edges of a box (x1, y1, x2, y2) on the canvas. */
  function onCanvas(view, [left, top, right, bottom]) {
    return [view.x(left), view.y(top), view.x(right), view.y(bottom)];
  }

  /** An object's box, and its class. */
  function object(context, view, { name, box }) {
    const [left, top, right, bottom] = onCanvas(view, box.map((edge) => edge - 0.5)); // in data sets pixel 0 is from 0 to 1
    context.lineWidth = 2 * view.ratio;
    context.setLineDash([6 * view.ratio, 4 * view.ratio]);
    context.strokeStyle = "#fff";
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
    context.font = `${13 * view.ratio}px system-ui, sans-serif`;
    context.strokeStyle = DARK;
    context.strokeText(name, left, top - 5 * view.ratio);
    context.fillStyle = "#fff";
    context.fillText(name, left, top - 5 * view.ratio);
  }

  /** A region's box, its bins where their offsets move them, fainter where their mask is less, and dots where they are without. */
  function region(context, view, { box, plain, moved, size, strength }) {
    const [left, top, right, bottom] = onCanvas(view, box);
    context.beginPath();
    for (const corner of [[left, top], [right, top], [right, bottom], [left, bottom]]) context.lineTo(...corner);
    context.closePath();
    outline(context, 2 * view.ratio, "#fff", view.ratio);
    context.beginPath();
    for (let i = 0; i < plain.y.length; i++) {
      if (Number.isNaN(moved.y[i] + moved.x[i])) continue;
      context.moveTo(view.x(plain.x[i]), view.y(plain.y[i]));
      context.lineTo(view.x(moved.x[i]), view.y(moved.y[i]));
    }
    outline(context, view.ratio, "#fff", view.ratio / 2);
    const [height, width] = size.map((side) => side * BIN_SHARE * view.scale);
    context.lineWidth = view.ratio;
    context.strokeStyle = "#fff";
    context.fillStyle = BIN_COLOUR;
    for (let i = 0; i < plain.y.length; i++) {
      if (Number.isNaN(moved.y[i] + moved.x[i])) continue;
      const bin = [view.x(moved.x[i]) - width / 2, view.y(moved.y[i]) - height / 2, width, height];
      context.globalAlpha = 0.25 + 0.6 * Math.min(strength[i], 1);
      context.fillRect(...bin);
      context.globalAlpha = 1;
      context.strokeRect(...bin);
    }
    for (let i = 0; i < plain.y.length; i++) dot(context, view.x(plain.x[i]), view.y(plain.y[i]), "#fff", 1.5 * view.ratio, view.ratio / 2);
  }

  return { colourOf, viewOf, cleared, aspect, picture, dots, squares, moves, cross, object, region };
})();
