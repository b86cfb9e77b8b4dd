"""Draws docs/pictures/architecture-light.svg and architecture-dark.svg: what runs where, in one picture. Standard library only.

Usage: architecture.py    writes both beside itself
"""

import pathlib

WIDTH, HEIGHT = 960, 400
COLOURS = {
    "light": {"text": "#1f2328", "soft": "#59636e", "line": "#59636e", "box": "#ffffff", "edge": "#d1d9e0", "ours": "#ddf4ff", "rim": "#0969da", "good": "#1a7f37"},
    "dark": {"text": "#f0f6fc", "soft": "#9198a1", "line": "#9198a1", "box": "#0d1117", "edge": "#3d444d", "ours": "#121d2f", "rim": "#4493f8", "good": "#3fb950"},
}


def box(x, y, width, height, title, lines=(), kind="plain"):
    middle = x + width / 2
    parts = [f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>']
    parts.append(f'<text class="title" x="{middle}" y="{y + 24}">{title}</text>')
    parts += [f'<text class="soft" x="{middle}" y="{y + 44 + 18 * n}">{line}</text>' for n, line in enumerate(lines)]
    return "".join(parts)


def arrow(points, words="", at=None, kind="line"):
    path = " ".join(f"{'M' if n == 0 else 'L'}{x},{y}" for n, (x, y) in enumerate(points))
    label = f'<text class="soft" x="{at[0]}" y="{at[1]}">{words}</text>' if words else ""
    return f'<path class="{kind}" d="{path}" marker-end="url(#end)"/>{label}'


def picture(colours):
    c = colours
    style = (
        f"text{{font:14px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:{c['text']};text-anchor:middle}}"
        f".title{{font-weight:600}}.soft{{font-size:12.5px;fill:{c['soft']}}}"
        f".plain{{fill:{c['box']};stroke:{c['edge']};stroke-width:1.5}}.ours{{fill:{c['ours']};stroke:{c['rim']};stroke-width:1.5}}"
        f".proof{{fill:{c['box']};stroke:{c['good']};stroke-width:1.5}}"
        f".line{{fill:none;stroke:{c['line']};stroke-width:1.5}}.checks{{fill:none;stroke:{c['good']};stroke-width:1.5;stroke-dasharray:5 4}}"
    )
    parts = [
        box(20, 20, 230, 66, "MemoryMigration", ["what you write: source, target"], "plain"),
        box(365, 20, 230, 66, "controller", ["starts a Job, keeps one writer"], "ours"),
        box(710, 20, 230, 66, "status", ["Ready=True, reason Verified"], "proof"),
        arrow([(250, 53), (361, 53)], "watched", (306, 45)),
        arrow([(595, 53), (706, 53)], "written", (651, 45)),
        box(365, 150, 230, 186, "runner (a Job)", kind="ours"),
        arrow([(480, 86), (480, 146)], "starts, reads its verdict", (562, 121)),
        box(20, 150, 230, 78, "store on a claim", ["Chroma's files, read-only,", "also beside a running server"]),
        box(20, 258, 230, 78, "Chroma server", ["read over HTTP", ""]),
        box(710, 150, 230, 78, "Chroma server", ["written over HTTP,", "at the pace you set"]),
        box(710, 258, 230, 78, "store on a claim", ["written by a Chroma server", "beside the runner"]),
        arrow([(250, 189), (361, 219)]),
        arrow([(250, 297), (361, 267)]),
        arrow([(595, 219), (706, 189)]),
        arrow([(595, 267), (706, 297)]),
        '<text class="title" x="135" y="362">source: never written</text>',
        '<text class="title" x="825" y="362">target: no record is removed</text>',
        arrow([(825, 370), (825, 388), (480, 388), (480, 340)], "every record is read back and compared", (652, 381), "checks"),
        arrow([(135, 370), (135, 388), (470, 388)], "read again", (300, 381), "checks").replace(' marker-end="url(#end)"', ""),
    ]
    steps = ["1 preflight", "2 copy", "3 verify every record", "4 repair", "5 last look at both sides"]
    parts += [f'<text x="480" y="{202 + 25 * n}">{step}</text>' for n, step in enumerate(steps)]
    head = f'<marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z" fill="{c["line"]}"/></marker>'
    words = "A MemoryMigration is watched by the controller, which starts a runner. It reads the source, writes the target, compares every record, and the verdict is in the status."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">\n'
        f"<style>{style}</style>\n<defs>{head}</defs>\n" + "\n".join(parts) + "\n</svg>\n"
    )


for name, colours in COLOURS.items():
    pathlib.Path(__file__).with_name(f"architecture-{name}.svg").write_text(picture(colours), encoding="utf-8")
