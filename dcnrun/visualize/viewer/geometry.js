"use strict";
/*
 * Sampling points of an output location through one layer or a chain of them: the same geometry as dcnrun/offsets/geometry.py,
 * whose numbers the tests compare these with; bins of RoI pooling; and which part of a picture is seen. No page, no drawing.
 * Positions are (y, x) on feature maps, pixel centres at integers.
 */
const geometry = (() => {
  const NOT_A_NUMBER = -32768;

  /** The bytes of base64. */
  function bytes(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  /** Offsets (groups, points, 2, rows, columns) in pixels of the layer's input feature map; null for a plain convolution. */
  function decodeOffsets(packed) {
    if (!packed) return null;
    const steps = new DataView(bytes(packed.steps).buffer);
    return Float64Array.from({ length: steps.byteLength / 2 }, (_, i) => {
      const count = steps.getInt16(2 * i, true);
      return count === NOT_A_NUMBER ? NaN : count * packed.step;
    });
  }

  /** Masks (groups, points, rows, columns); null where all are 1. */
  function decodeMask(packed) {
    return packed && Float64Array.from(bytes(packed.steps), (count) => count * packed.step);
  }

  /** A layer of the page's data with its offsets and mask unpacked. */
  function decodeLayer(layer) {
    return { ...layer, offset: decodeOffsets(layer.offset), mask: decodeMask(layer.mask), kernelPoints: layer.kernel[0] * layer.kernel[1] };
  }

  /** The four pixels around (y, x) with their bilinear weights; a position outside the feature map takes the nearest pixel. */
  function around(y, x, [rows, columns]) {
    y = Math.min(Math.max(y || 0, 0), rows - 1); // NaN as 0
    x = Math.min(Math.max(x || 0, 0), columns - 1);
    const top = Math.floor(y), left = Math.floor(x), down = y - top, right = x - left;
    const bottom = Math.min(top + 1, rows - 1), next = Math.min(left + 1, columns - 1);
    return {
      pixels: [top * columns + left, top * columns + next, bottom * columns + left, bottom * columns + next],
      shares: [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right],
    };
  }

  /** The interpolated value there of the feature map that begins at `start` of `maps`. */
  function look(maps, start, { pixels, shares }) {
    let value = 0;
    for (let i = 0; i < 4; i++) if (shares[i]) value += maps[start + pixels[i]] * shares[i];
    return value;
  }

  /** Room for `count` points. */
  function room(count) {
    return {
      count,
      y: new Float64Array(count), // on the input feature map of the lowest layer so far
      x: new Float64Array(count),
      strength: new Float64Array(count), // product of mask x weight along the path
      inside: new Uint8Array(count), // 0 where the point, or one on its path, reads only padding
      group: new Uint16Array(count), // the offset group of the chain's last layer
      path: new Float64Array(count), // group x points + point of each layer, as digits, from the last layer on
    };
  }

  /** Points on the input of the layer above, whose grid is `grid`, converted to points on the output of `layer`. */
  function onOutput(layer, points, grid) {
    const own = layer.outputGrid;
    const moved = { ...points, y: points.y.slice(), x: points.x.slice(), inside: points.inside.slice() };
    for (let i = 0; i < points.count; i++) {
      moved.y[i] = (toImage(grid, points.y[i], 0) - own.start[0]) / own.step[0];
      moved.x[i] = (toImage(grid, points.x[i], 1) - own.start[1]) / own.step[1];
      moved.inside[i] &= touches(moved.y[i], moved.x[i], layer.output);
    }
    return moved;
  }

  /** The points that `layer` reads for its output at `points`: groups x kernel points for each. */
  function through(layer, points, first) {
    const weights = layer.weight.flat(), size = layer.output[0] * layer.output[1], read = room(points.count * weights.length);
    for (let p = 0, i = 0; p < points.count; p++) {
      const corners = around(points.y[p], points.x[p], layer.output);
      for (let branch = 0; branch < weights.length; branch++, i++) {
        const kernelPoint = branch % layer.kernelPoints, mask = layer.mask ? look(layer.mask, branch * size, corners) : 1;
        read.y[i] = points.y[p] * layer.stride[0] - layer.padding[0] + Math.floor(kernelPoint / layer.kernel[1]) * layer.dilation[0];
        read.x[i] = points.x[p] * layer.stride[1] - layer.padding[1] + (kernelPoint % layer.kernel[1]) * layer.dilation[1];
        if (layer.offset) {
          read.y[i] += look(layer.offset, 2 * branch * size, corners);
          read.x[i] += look(layer.offset, (2 * branch + 1) * size, corners);
        }
        read.strength[i] = points.strength[p] * mask * weights[branch];
        read.inside[i] = points.inside[p] & touches(read.y[i], read.x[i], layer.input);
        read.group[i] = first ? Math.floor(branch / layer.kernelPoints) : points.group[p];
        read.path[i] = points.path[p] * weights.length + branch;
      }
    }
    return read;
  }

  /** Whether a bilinear sample there reads any pixel of the feature map, and not only the zeros around it. */
  function touches(y, x, [rows, columns]) {
    return y > -1 && y < rows && x > -1 && x < columns;
  }

  /** The `limit` strongest, those that read only padding last: where offsets run away they would crowd out the others. */
  function strongest(points, limit) {
    if (points.count <= limit) return points;
    const most = points.strength.reduce((a, b) => Math.max(a, b));
    const rank = points.strength.map((strength, i) => (points.inside[i] ? strength : strength - most));
    const least = valueOfRank(rank.slice(), rank.length - limit);
    const above = rank.reduce((count, one) => count + (one > least), 0);
    let ties = limit - above; // how many of those equal to the least are kept
    const kept = [];
    for (let i = 0; i < rank.length; i++) {
      if (rank[i] > least || (rank[i] === least && ties-- > 0)) kept.push(i);
    }
    return chosen(points, kept);
  }

  /** The value of this rank, by quickselect, as sorting them all is slow. Reorders the values. */
  function valueOfRank(values, rank) {
    let low = 0, high = values.length - 1;
    while (low < high) {
      const pivot = values[(low + high) >> 1];
      let i = low, j = high;
      while (i <= j) {
        while (values[i] < pivot) i++;
        while (values[j] > pivot) j--;
        if (i > j) break;
        [values[i], values[j]] = [values[j], values[i]];
        i++;
        j--;
      }
      if (rank <= j) high = j;
      else if (rank >= i) low = i;
      else break;
    }
    return values[rank];
  }

  /** The points of these indices. */
  function chosen(points, indices) {
    const some = room(indices.length);
    for (const [name, values] of Object.entries(points)) {
      if (name !== "count") indices.forEach((index, i) => { some[name][i] = values[index]; });
    }
    return some;
  }

  /**
   * The points that output location (y, x) of the chain's last layer reads on the input feature map of its first; strengths sum to 1.
   * There are groups x kernel points for each of them, layer by layer; of more than `limit` the strongest are kept, layer by layer.
   */
  function points(chain, y, x, limit = 9 ** 3) {
    let reached = room(1);
    reached.y[0] = y;
    reached.x[0] = x;
    reached.strength[0] = 1;
    reached.inside[0] = 1;
    for (let i = chain.length - 1; i >= 0; i--) {
      if (i < chain.length - 1) reached = onOutput(chain[i], reached, chain[i + 1].inputGrid);
      reached = strongest(through(chain[i], reached, i === chain.length - 1), limit);
    }
    const sum = reached.strength.reduce((a, b) => a + b, 0);
    if (sum > 0) reached.strength.forEach((strength, i) => { reached.strength[i] = strength / sum; });
    return reached;
  }

  /** The chain with no offsets and masks: where plain convolutions would have read. */
  function undeformed(chain) {
    return chain.map((layer) => ({ ...layer, offset: null, mask: null, groups: 1, weight: [Array(layer.kernelPoints).fill(1)] }));
  }

  /** Convert a position on a feature map to one in the image, along one axis. */
  function toImage(grid, position, axis) {
    return grid.start[axis] + position * grid.step[axis];
  }

  /** The pixel, of `count`, of a feature map that is nearest to a position in the image, along one axis. */
  function nearest(grid, position, axis, count) {
    const pixel = Math.round((position - grid.start[axis]) / grid.step[axis]);
    return Math.min(Math.max(pixel, 0), count - 1);
  }

  // ---- RoI pooling: boxes are (x1, y1, x2, y2) in pixels of the image, pixel centres at integers ----

  /** A RoI pooling of the page's data with its moves (regions, rows, columns, 2), in pixels of the image, and its mask unpacked. */
  function decodePool(pool) {
    return { ...pool, moves: decodeOffsets(pool.moves), mask: decodeMask(pool.mask) };
  }

  /** A region's box and its bins: their centres without offsets and as these move them, height and width, and strength. */
  function bins(pool, region) {
    const box = pool.boxes[region], [rows, columns] = pool.bins, count = rows * columns, first = region * count;
    const size = [(box[3] - box[1]) / rows, (box[2] - box[0]) / columns], each = [...Array(count).keys()];
    const plain = {
      y: each.map((i) => box[1] + (Math.floor(i / columns) + 0.5) * size[0]),
      x: each.map((i) => box[0] + ((i % columns) + 0.5) * size[1]),
    };
    const moved = {
      y: plain.y.map((y, i) => y + (pool.moves ? pool.moves[2 * (first + i)] : 0)),
      x: plain.x.map((x, i) => x + (pool.moves ? pool.moves[2 * (first + i) + 1] : 0)),
    };
    return { box, plain, moved, size: size.map(Math.abs), strength: each.map((i) => (pool.mask ? pool.mask[first + i] : 1)) };
  }

  /** The first region that contains a position, which of those that do has the best score; -1 where none does. */
  function regionAt(pool, { y, x }) {
    return pool.boxes.findIndex(([left, top, right, bottom]) => left <= x && x <= right && top <= y && y <= bottom);
  }

  /** The region that overlaps a box most, by intersection over union; -1 where none does. */
  function regionLike(pool, box) {
    const overlaps = pool.boxes.map((other) => overlap(box, other)), most = Math.max(0, ...overlaps);
    return most > 0 ? overlaps.indexOf(most) : -1;
  }

  /** The intersection over union of two boxes. */
  function overlap(one, other) {
    const area = ([left, top, right, bottom]) => Math.max(right - left, 0) * Math.max(bottom - top, 0);
    const common = area(one.map((side, i) => (i < 2 ? Math.max(side, other[i]) : Math.min(side, other[i]))));
    return common > 0 ? common / (area(one) + area(other) - common) : 0;
  }

  // ---- viewports: the part of a picture that is seen, `factor` times as large as the whole, from (y, x) on, in shares of its sides ----

  const WHOLE = { factor: 1, y: 0, x: 0 };
  const MOST_ENLARGED = 32;

  /** The viewport with everything `by` times as large and what was at `from` brought to `to`, both in shares of the sides of what is seen. */
  function zoomed(viewport, by, from, to) {
    const factor = Math.min(Math.max(viewport.factor * by, 1), MOST_ENLARGED);
    const corner = (axis) => viewport[axis] + from[axis] / viewport.factor - to[axis] / factor;
    return kept({ factor, y: corner("y"), x: corner("x") });
  }

  /** The viewport, moved as little as keeps it on the picture. */
  function kept({ factor, y, x }) {
    const last = 1 - 1 / factor;
    return { factor, y: Math.min(Math.max(y, 0), last), x: Math.min(Math.max(x, 0), last) };
  }

  return { decodeLayer, points, chosen, undeformed, toImage, nearest, decodePool, bins, regionAt, regionLike, WHOLE, zoomed };
})();
