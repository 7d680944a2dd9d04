/*
 * What a mouse, a pen or fingers do over an element, told as gestures. Places are shares of the element's height and width. It knows
 * nothing of what the element shows.
 */
const gestures = (() => {
  const STILL = 5; // CSS pixels by which a click or a tap may move
  const WHEEL = [0.002, 0.05, 0.7]; // by which an enlargement's logarithm changes for each pixel, line or page of the wheel
  const TOUCHPAD = 5; // times as much where two fingers pinch on a touchpad, which comes as a wheel with Ctrl

  /** Where an event is on the element. */
  function placeOn(element, { clientY, clientX }) {
    const box = element.getBoundingClientRect();
    return { y: (clientY - box.top) / box.height, x: (clientX - box.left) / box.width };
  }

  function distance(one, other) {
    return Math.hypot(one.clientY - other.clientY, one.clientX - other.clientX);
  }

  /** The middle of two events. */
  function between(one, other) {
    return { clientY: (one.clientY + other.clientY) / 2, clientX: (one.clientX + other.clientX) / 2 };
  }

  /**
   * Listen to an element. `point(place, pressed)`: the mouse hovers over a place, or a finger is on it; `click(place)` with the mouse;
   * `zoom(factor, from, to)` by the wheel or two fingers: what is at one place is to be brought to another, so many times as large.
   * It returns whether that has changed anything. Dragging with the mouse is a zoom by 1.
   */
  function listen(element, { point, click, zoom }) {
    const pressed = new Map(); // the last event of each pointer that is down
    let doing = null; // "still", "drag" or "pinch", until all pointers are up

    function drag(from, to, factor = 1) {
      return zoom(factor, placeOn(element, from), placeOn(element, to));
    }

    function pinch(before, after) {
      drag(between(...before), between(...after), distance(...after) / Math.max(distance(...before), 1));
    }

    function lift(event) {
      pressed.delete(event.pointerId);
      if (!pressed.size) doing = null;
    }

    element.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button !== 0) return;
      element.setPointerCapture(event.pointerId);
      pressed.set(event.pointerId, event);
      doing = pressed.size === 1 ? "still" : "pinch";
    });

    element.addEventListener("pointermove", (event) => {
      const last = pressed.get(event.pointerId), before = [...pressed.values()];
      if (!before.length) return point(placeOn(element, event), false);
      if (!last || (doing === "still" && distance(last, event) <= STILL)) return;
      if (doing === "still") doing = "drag";
      pressed.set(event.pointerId, event);
      if (doing === "pinch" && before.length === 2) pinch(before, [...pressed.values()]);
      else if (doing === "drag" && event.pointerType === "mouse") drag(last, event);
      else if (doing === "drag") point(placeOn(element, event), true);
    });

    element.addEventListener("pointerup", (event) => {
      if (doing === "still" && event.pointerType === "mouse") click(placeOn(element, event));
      else if (doing === "still") point(placeOn(element, event), true);
      lift(event);
    });
    element.addEventListener("pointercancel", lift);

    element.addEventListener("wheel", (event) => {
      const change = -event.deltaY * WHEEL[event.deltaMode] * (event.ctrlKey ? TOUCHPAD : 1);
      if (drag(event, event, Math.exp(change)) || event.ctrlKey) event.preventDefault();
    }, { passive: false });
  }

  return { listen };
})();
