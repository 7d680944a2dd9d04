/*
 * A drawing context that makes an SVG file: what drawing.js uses of a canvas's, every shape an element of its own. It is built as a
 * document and serialised by the browser, so names are escaped whatever they hold.
 */
const svg = (() => {
  const NAMESPACE = "http://www.w3.org/2000/svg", LINKS = "http://www.w3.org/1999/xlink";
  const NOT_IN_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g;

  /** An element with attributes and children, elements or text. */
  function element(name, attributes = {}, ...children) {
    const made = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "href") made.setAttributeNS(LINKS, "xlink:href", value); // older programs know no other
      else made.setAttribute(key, value);
    }
    made.append(...children.map((child) => (typeof child === "string" ? child.replace(NOT_IN_XML, "\ufffd") : child)));
    return made;
  }

  /** A colour as `name` and `name`-opacity: not all programs know colours of four or eight digits. */
  function ink(name, colour, alpha) {
    const digits = /^#([0-9a-f]{3})([0-9a-f])$/i.exec(colour);
    const opacity = alpha * (digits ? parseInt(digits[2], 16) / 15 : 1);
    return { [name]: digits ? `#${digits[1]}` : colour, ...(opacity < 1 ? { [`${name}-opacity`]: round(opacity) } : {}) };
  }

  function round(value) {
    return Math.round(1000 * value) / 1000;
  }

  class Context {
    isVector = true;
    globalAlpha = 1;
    lineWidth = 1;
    fillStyle = "#000";
    strokeStyle = "#000";
    #origins = [[0, 0]];
    #path = [];
    #circles = [];
    #dash = [];

    /** `root`: the element that shapes are put into. `width`, `height`: CSS pixels that a canvas would have. */
    constructor(root, width, height) {
      this.root = root;
      this.canvas = { width, height, clientWidth: width, clientHeight: height };
    }

    save() {
      this.#origins.push(this.#origins.at(-1));
    }

    restore() {
      this.#origins.pop();
    }

    translate(x, y) {
      const [left, top] = this.#origins.pop();
      this.#origins.push([left + x, top + y]);
    }

    #at(x, y) {
      const [left, top] = this.#origins.at(-1);
      return [round(left + x), round(top + y)];
    }

    beginPath() {
      this.#path = [];
      this.#circles = [];
    }

    moveTo(x, y) {
      this.#path.push(`M${this.#at(x, y)}`);
    }

    lineTo(x, y) {
      this.#path.push(`${this.#path.length ? "L" : "M"}${this.#at(x, y)}`);
    }

    closePath() {
      this.#path.push("Z");
    }

    /** Only ever a whole circle. */
    arc(x, y, radius) {
      const [cx, cy] = this.#at(x, y);
      this.#circles.push({ cx, cy, r: round(radius) });
    }

    #put(name, attributes, ...children) {
      this.root.append(element(name, attributes, ...children));
    }

    #paint(paint) {
      const line = this.#path.filter((step, i) => !(step[0] === "M" && (this.#path[i + 1] ?? "M")[0] === "M")); // not those that lead nowhere
      if (line.length) this.#put("path", { d: line.join(""), ...paint });
      for (const circle of this.#circles) this.#put("circle", { ...circle, ...paint });
    }

    #filled() {
      return ink("fill", this.fillStyle, this.globalAlpha);
    }

    #stroked() {
      const dash = this.#dash.length ? { "stroke-dasharray": this.#dash.map(round).join(" ") } : {};
      return { fill: "none", ...ink("stroke", this.strokeStyle, this.globalAlpha), "stroke-width": round(this.lineWidth), ...dash };
    }

    fill() {
      this.#paint(this.#filled());
    }

    stroke() {
      this.#paint(this.#stroked());
    }

    #box(left, top, width, height) {
      const [x, y] = this.#at(left, top);
      return { x, y, width: round(width), height: round(height) };
    }

    fillRect(...box) {
      this.#put("rect", { ...this.#box(...box), ...this.#filled() });
    }

    strokeRect(...box) {
      this.#put("rect", { ...this.#box(...box), ...this.#stroked() });
    }

    setLineDash(dash) {
      this.#dash = dash;
    }

    #text(text, left, top, paint) {
      const [, size, family] = /^(\S+)px (.+)$/.exec(this.font), [x, y] = this.#at(left, top);
      this.#put("text", { x, y, "font-size": size, "font-family": family, ...paint }, text);
    }

    fillText(text, x, y) {
      this.#text(text, x, y, this.#filled());
    }

    strokeText(text, x, y) {
      this.#text(text, x, y, this.#stroked());
    }

    /** The file that the picture was loaded from is embedded as it is. */
    drawImage(picture, ...box) {
      const pixels = this.imageSmoothingEnabled ? {} : { "image-rendering": "pixelated" };
      this.#put("image", { href: picture.src, preserveAspectRatio: "none", ...this.#box(...box), ...pixels });
    }
  }

  /** The text of a file that holds a root element. */
  function file(root) {
    return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(root)}\n`;
  }

  return { Context, element, file };
})();
