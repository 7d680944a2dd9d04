"""A page in headless Chromium, moved and looked at as by a reader."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

MARGIN = 0.1  # of the page around its picture, as a share of the picture's longer side
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--force-color-profile=srgb"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
WAIT_FOR_FRAMES = """
    const done = arguments[arguments.length - 1];
    requestAnimationFrame(() => requestAnimationFrame(() => done()));
"""
WAIT_FOR_PICTURES = """
    const done = arguments[arguments.length - 1];
    const drawn = (canvas) => canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[3] > 0;
    const look = () => [...document.querySelectorAll(".picture")].filter((canvas) => canvas.clientWidth).every(drawn)
        ? done() : requestAnimationFrame(look);
    look();
"""
REMEMBER_ALERTS = "window.alerts = []; window.alert = (text) => window.alerts.push(String(text));"


class Browser:
    """One Chromium for all tests; `open` starts afresh with a page in a window of the wanted kind."""

    def __init__(self, chromium: str, chromedriver: str, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(chromedriver))
        self.command("Page.addScriptToEvaluateOnNewDocument", source=REMEMBER_ALERTS)

    def command(self, name, **arguments):
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def open(self, page, width=1280, height=800, phone=False, scheme="light"):
        self.driver.get("about:blank")
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        self.command("Emulation.setTouchEmulationEnabled", enabled=phone)
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        self.command("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in wishes.items()])
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())
        self.driver.execute_async_script(WAIT_FOR_PICTURES)

    def run(self, script, *arguments):
        """The value of a script's `return`."""
        return self.driver.execute_script(script, *arguments)

    def settled(self):
        """Once what was asked for is drawn."""
        self.driver.execute_async_script(WAIT_FOR_FRAMES)

    def messages(self):
        """What the page has written to the console since it was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def text(self, selector):
        """The text of each shown element, as it is in the document."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].filter((e) => e.offsetParent).map((e) => e.textContent)",
            selector,
        )

    def value(self, element):
        """Of a list or slider."""
        return self.run("return document.getElementById(arguments[0]).value", element)

    def choose(self, selector, value):
        """Choose from a list, or set a slider."""
        self.run(
            """const element = document.querySelector(arguments[0]);
            element.value = arguments[1];
            for (const kind of ["input", "change"]) element.dispatchEvent(new Event(kind, { bubbles: true }));""",
            selector,
            value,
        )
        self.settled()

    def click(self, selector):
        """Click an element as a mouse does, in its middle."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({ block: 'center' })", selector)
        box = self.box(selector)
        self.click_at(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def click_at(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settled()

    def box(self, selector):
        return self.run(
            "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()",
            selector,
        )

    def keys(self, *keys):
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()
        self.settled()

    def hover(self, y, x, image_size, panel=0):
        """Move the mouse to a place of the image on a panel."""
        right, down = self.on_screen(y, x, image_size, panel)
        self.command("Input.dispatchMouseEvent", type="mouseMoved", x=right, y=down)
        self.settled()

    def wheel(self, x, y, down):
        """Turn the mouse's wheel at a place of the window, by so many pixels."""
        self.command("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=down)
        self.settled()

    def drag(self, start, end):
        """Drag with the mouse from one place (x, y) of the window to another."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        self.settled()

    def touch(self, *steps):
        """Put fingers down, move them and lift them: each step is where they are, (x, y) each."""
        for kind, places in zip(
            ("touchStart", *["touchMove"] * (len(steps) - 1), "touchEnd"), (*steps, ()), strict=True
        ):
            points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
            self.command("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        self.settled()

    def on_screen(self, y, x, image_size, panel=0):
        """Where (y, x) of an image of (H, W) is in the window: x, y in CSS pixels."""
        box = self.box(f"section:nth-of-type({panel + 1}) .picture")
        margin = MARGIN * max(image_size)
        scale = box["width"] / (image_size[1] + 2 * margin)
        return box["x"] + (x + 0.5 + margin) * scale, box["y"] + (y + 0.5 + margin) * scale

    def screenshot(self):
        """The window as (H, W, 3)."""
        shot = base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(float)

    def whole_page(self):
        """The page from top to bottom as a PNG file."""
        size = self.run("const root = document.documentElement; return [root.scrollWidth, root.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])

    def quit(self):
        self.driver.quit()
