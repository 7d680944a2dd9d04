/*
 * Drawing on a canvas. Positions are in pixels of the image, which a view (`viewOf`) converts to the canvas; sizes are in CSS
 * pixels. It does not depend on what is chosen.
 */
const drawing = (() => {
  // Okabe and Ito's colours, which any colour vision can distinguish.
  const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2"];
  const DARK = "#000b";
  const MARGIN = 0.1; // around the picture, as a share of its longer side
  const SMALLEST_DOT = 1.5;

  /** The colour of an offset group. */
  function colourOf(group) {
    return COLOURS[group % COLOURS.length];
  }

  /** How image pixels lie on a canvas: as wide as the image and its margin. */
  function viewOf(canvas, image) {
    const margin = MARGIN * Math.max(...image.size), ratio = canvas.width / canvas.clientWidth || 1;
    const scale = canvas.width / (image.size[1] + 2 * margin);
    return { scale, ratio, to: (position) => (position + 0.5 + margin) * scale, from: (pixel) => pixel / scale - 0.5 - margin };
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
    const at = [view.to(-0.5), view.to(-0.5), image.size[1] * view.scale, image.size[0] * view.scale];
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
      const y = view.to(points.y[i]), x = view.to(points.x[i]), share = Math.sqrt(points.strength[i] / strongest);
      if (Number.isNaN(y + x)) continue;
      const nearY = Math.min(Math.max(y, edge), height - edge), nearX = Math.min(Math.max(x, edge), width - edge);
      const colour = colourOf(points.group[i]), radius = Math.max(Math.round(4 * largest * share) / 4, SMALLEST_DOT) * view.ratio;
      context.globalAlpha = 0.3 + 0.7 * share;
      if (y === nearY && x === nearX) {
        const dot = points.inside[i] ? dotStamp(colour, radius, rim * view.ratio) : ringStamp(colour, radius, rim * view.ratio);
        context.drawImage(dot, x - dot.width / 2, y - dot.height / 2);
      } else {
        arrowhead(context, nearX, nearY, Math.atan2(y - nearY, x - nearX), edge, colour);
      }
    }
    context.globalAlpha = 1;
  }

  const stamps = new Map();

  /** A small picture, made once for all of the thousands of dots that look the same. */
  function stamp(key, reach, paint) {
    if (!stamps.has(key)) {
      const canvas = new OffscreenCanvas(2 * Math.ceil(reach + 1), 2 * Math.ceil(reach + 1)), context = canvas.getContext("2d");
      context.translate(canvas.width / 2, canvas.height / 2);
      paint(context);
      stamps.set(key, canvas);
    }
    return stamps.get(key);
  }

  /** A disc, with a dark rim that sets it off from any picture. */
  function dotStamp(colour, radius, rim) {
    return stamp(["dot", colour, radius, rim].join(), radius + rim, (context) => {
      for (const [size, ink] of [[radius + rim, DARK], [radius, colour]]) {
        context.beginPath();
        context.arc(0, 0, size, 0, 2 * Math.PI);
        context.fillStyle = ink;
        context.fill();
      }
    });
  }

  /** A ring, likewise. */
  function ringStamp(colour, radius, rim) {
    const middle = Math.max(radius, 4 * rim), line = 1 + rim;
    return stamp(["ring", colour, radius, rim].join(), middle + line, (context) => {
      context.beginPath();
      context.arc(0, 0, middle, 0, 2 * Math.PI);
      outline(context, line, colour, rim);
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
      const corner = [view.to(points.x[i]) - length / 2, view.to(points.y[i]) - length / 2], key = corner.join();
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
      context.moveTo(view.to(plain.x[kernelPoint]), view.to(plain.y[kernelPoint]));
      context.lineTo(view.to(points.x[i]), view.to(points.y[i]));
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  /** A cross at a position, in a circle if it is pinned. */
  function cross(context, view, { y, x }, pinned) {
    const arm = 9 * view.ratio, gap = 3 * view.ratio;
    context.beginPath();
    for (const [down, right] of [[0, 1], [0, -1], [1, 0], [-1, 0]]) {
      context.moveTo(view.to(x) + right * gap, view.to(y) + down * gap);
      context.lineTo(view.to(x) + right * arm, view.to(y) + down * arm);
    }
    if (pinned) {
      context.moveTo(view.to(x) + arm + gap, view.to(y));
      context.arc(view.to(x), view.to(y), arm + gap, 0, 2 * Math.PI);
    }
    outline(context, 2 * view.ratio, "#fff", view.ratio);
  }

  /** An object's box, and its class. */
  function object(context, view, { name, box }) {
    const [left, top, right, bottom] = box.map((edge) => view.to(edge - 0.5));
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

  return { colourOf, viewOf, cleared, aspect, picture, dots, squares, moves, cross, object };
})();
