"""Records a command as an asciicast (version 2), and draws one as an SVG that plays. Standard library only.

Usage: cast.py record OUT.cast COMMAND [ARGUMENT...]
       cast.py draw IN.cast OUT.svg

`make pictures` renews docs/pictures/demo.cast and demo.svg from a real run of `make demo`. Pauses are cut to one second.
"""

import html
import json
import os
import pty
import re
import select
import sys
import time

COLUMNS, PAUSE, HOLD = 150, 1.0, 6.0
CHAR, LINE, EDGE = 7.8, 18, 16
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def record(out, command):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"COLUMNS": str(COLUMNS), "TERM": "dumb", "NO_COLOR": "1"}
        os.execvp(command[0], command)
    started, events = time.monotonic(), []
    while True:
        select.select([terminal], [], [])
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            break
        events.append([round(time.monotonic() - started, 3), "o", data.decode(errors="replace")])
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        sys.exit(f"{' '.join(command)} ended with exit code {code}")
    with open(out, "w", encoding="utf-8") as file:
        header = {"version": 2, "width": COLUMNS, "height": 48, "title": "make demo"}
        for line in [header, *events]:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def lines(cast):
    """Each line of the terminal as (seconds, text), where the last text of a line counts."""
    with open(cast, encoding="utf-8") as file:
        header, *events = map(json.loads, file)
    if header["version"] != 2:
        sys.exit(f"{cast}: version {header['version']}, expected 2")
    now, last, row, shown = 0.0, 0.0, "", []
    for at, kind, text in events:
        now += min(at - last, PAUSE)
        last = at
        if kind != "o":
            continue
        for part in re.split(r"(\r\n|\n|\r)", SEQUENCE.sub("", text)):
            if part in ("\n", "\r\n"):
                shown.append((now, row.rstrip()))
                row = ""
            elif part == "\r":
                row = ""
            else:
                row += part
    return shown + ([(now, row)] if row else []), header["width"]


def look(text):
    starts = {"== ": "step", "$ ": "typed", "Succeeded": "good", "Done": "good", "Failed": "bad"}
    return next((kind for start, kind in starts.items() if text.startswith(start)), "said")


def wrapped(shown, columns):
    for at, text in shown:
        kind = look(text)
        while len(text) > columns:
            cut = text.rfind(" ", 0, columns) + 1 or columns
            yield at, kind, text[:cut].rstrip()
            text = text[cut:]
        yield at, kind, text


def draw(cast, out):
    shown, columns = lines(cast)
    rows = list(wrapped(shown, columns))
    whole = rows[-1][0] + HOLD
    width, height = columns * CHAR + 2 * EDGE, len(rows) * LINE + 2 * EDGE
    style, body = [], []
    for number, (at, kind, text) in enumerate(rows):
        share = 100 * at / whole
        style.append(f"@keyframes r{number}{{0%,{share:.2f}%{{opacity:0}}{share + 0.01:.2f}%,100%{{opacity:1}}}}")
        if not text:
            continue
        y = EDGE + number * LINE + 13
        body.append(
            f'<text class="{kind}" x="{EDGE}" y="{y}" textLength="{len(text) * CHAR:.1f}" xml:space="preserve" '
            f'style="animation:r{number} {whole:.1f}s steps(1) infinite">{html.escape(text)}</text>'
        )
    with open(out, "w", encoding="utf-8") as file:
        file.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
            'aria-label="A terminal that shows make demo">\n<style>\n'
            "text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#c9d1d9}\n"
            ".step{fill:#79c0ff;font-weight:bold}.typed{fill:#ffffff}.good{fill:#7ee787;font-weight:bold}.bad{fill:#ff7b72;font-weight:bold}\n"
            # Whoever wants no motion sees the end.
            "@media (prefers-reduced-motion:reduce){text{animation:none!important}}\n"
        )
        file.write("\n".join(style) + f'\n</style>\n<rect width="100%" height="100%" rx="8" fill="#0d1117"/>\n')
        file.write("\n".join(body) + "\n</svg>\n")


if __name__ == "__main__":
    if len(sys.argv) >= 4 and sys.argv[1] == "record":
        record(sys.argv[2], sys.argv[3:])
    elif len(sys.argv) == 4 and sys.argv[1] == "draw":
        draw(sys.argv[2], sys.argv[3])
    else:
        sys.exit(__doc__)
