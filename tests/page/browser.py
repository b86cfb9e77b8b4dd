"""Opens pages in headless Chromium, over its debugging pipe. Standard library only.

Usage: browser.py check PAGE.html
       browser.py picture PAGE.html light|dark WIDTH HEIGHT OUT.png

`check` prints what a test judges, as JSON: console messages, requests, widths, what the keyboard reaches, the filter, names of
images, and whether all of it can be read without a script. CHROMIUM names the program; else chromium or google-chrome on PATH.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

WIDTHS = (360, 768, 1600)


def program():
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    found = [path for path in map(shutil.which, filter(None, names)) if path]
    if not found:
        sys.exit("browser.py: no Chromium on PATH; on Debian, as root: apt-get install chromium")
    return found[0]


class Browser:
    """One page of one browser. Commands are answered in order; events are kept by their name."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self.send_fd = os.pipe()
        self.read_fd, to_write = os.pipe()
        keep = [to_read, to_write]

        def pipes():
            # beyond 3 and 4 first: one of them could be the other
            a, b = os.dup(keep[0]), os.dup(keep[1])
            os.dup2(a, 3)
            os.dup2(b, 4)

        flags = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-extensions", "--no-first-run",
                 "--disable-background-networking", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio",
                 f"--user-data-dir={self.profile.name}"]
        # root has no sandbox; what is opened is ours
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen([program(), *flags], preexec_fn=pipes, pass_fds=(3, 4), close_fds=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.number, self.session, self.events = b"", 0, None, []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.profile.cleanup()

    def receive(self):
        while b"\0" not in self.buffer:
            got = os.read(self.read_fd, 1 << 16)
            if not got:
                sys.exit("browser.py: Chromium ended; see what it says: chromium --headless --dump-dom about:blank")
            self.buffer += got
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def __call__(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.send_fd, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"browser.py: {method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, page, width, height=900, scheme="light"):
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        loads = len(self.of("Page.loadEventFired"))
        self("Page.navigate", url=pathlib.Path(page).resolve().as_uri())
        while len(self.of("Page.loadEventFired")) == loads:
            self.events.append(self.receive())

    def of(self, method):
        return [event.get("params", {}) for event in self.events if event.get("method") == method]

    def value(self, script):
        return self("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=9 if key == "Tab" else 0)


REACHED = "(() => { const e = document.activeElement; return e.id || e.className || e.tagName })()"
ROWS = "[...document.querySelectorAll('#differences tbody tr')].filter(row => !row.hidden && row.offsetHeight > 0).length"
FILTER = ("(() => { const box = document.getElementById('filter'); box.value = %s;"
          " box.dispatchEvent(new Event('input')); return document.getElementById('shown').textContent })()")


def check(page):
    told = {"widths": {}, "keyboard": []}
    with Browser() as browser:
        for width in WIDTHS:
            browser.open(page, width)
            told["widths"][width] = browser.value("document.documentElement.scrollWidth")
        for _ in range(40):
            browser.key("Tab")
            reached = browser.value(REACHED)
            if reached == "BODY" or (told["keyboard"] and reached == told["keyboard"][0]):
                break
            told["keyboard"].append(reached)
        told["rows"] = browser.value(ROWS)
        # hidden or not is the script's doing
        told["filter"] = browser.value("(() => { const f = document.querySelector('.filter'); return !!f && !f.hidden })()")
        if told["filter"]:
            told["shown"] = browser.value(FILTER % json.dumps("no such row"))
            told["left"] = browser.value(ROWS)
            browser.value(FILTER % "''")
        nodes = browser("Accessibility.getFullAXTree")["nodes"]
        roles = [(node.get("role", {}).get("value"), node.get("name", {}).get("value", "")) for node in nodes
                 if not node.get("ignored")]
        told["headings"] = [name for role, name in roles if role == "heading"]
        told["images"] = [name for role, name in roles if role in ("image", "img", "graphics-document", "SvgRoot")]
        told["tables"] = sum(role == "table" for role, _ in roles)
        told["header_cells"] = sum(role in ("columnheader", "rowheader") for role, _ in roles)
        told["pdf"] = base64.b64decode(browser("Page.printToPDF", printBackground=False)["data"])[:4].decode()
        browser("Emulation.setScriptExecutionDisabled", value=True)
        browser.open(page, 1600, scheme="dark")
        told["rows_without_script"] = browser.value(ROWS)
        told["filter_without_script"] = browser.value("!!document.querySelector('.filter') && !document.querySelector('.filter').hidden")
        told["dark"] = browser.value("getComputedStyle(document.body).backgroundColor")
        own = pathlib.Path(page).resolve().as_uri()
        told["requests"] = sorted({event["request"]["url"] for event in browser.of("Network.requestWillBeSent")}
                                  - {own, "data:,"})
        told["console"] = [event["entry"]["text"] for event in browser.of("Log.entryAdded")]
        told["console"] += [json.dumps(event["args"]) for event in browser.of("Runtime.consoleAPICalled")]
        told["console"] += [event["exceptionDetails"]["text"] for event in browser.of("Runtime.exceptionThrown")]
    print(json.dumps(told))


def picture(page, scheme, width, height, out):
    with Browser() as browser:
        browser.open(page, int(width), int(height), scheme)
        data = browser("Page.captureScreenshot", format="png")["data"]
    pathlib.Path(out).write_bytes(base64.b64decode(data))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:] or ["?"]
    tools = {"check": check, "picture": picture}
    if command not in tools:
        sys.exit(__doc__)
    tools[command](*arguments)
