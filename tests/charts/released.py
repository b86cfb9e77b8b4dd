"""Checks the page in a released chart's package: it names the image, and asks nobody to build one.

Usage: released.py CHART.tgz IMAGE DIGEST
"""

import sys
import tarfile


def main():
    package, image, digest = sys.argv[1:]
    with tarfile.open(package) as tar:
        chart = tar.getnames()[0].split("/")[0]
        read = lambda name: tar.extractfile(f"{chart}/{name}").read().decode("utf-8")  # noqa: E731
        page, values = read("README.md"), read("values.yaml") if chart == "memory-migration-operator" else ""
        published = [name for name in tar.getnames() if name.endswith((".tpl", ".yaml", ".txt", ".md")) and not name.endswith("Chart.yaml")]
        unpublished = [name for name in published if b"no image is published" in tar.extractfile(name).read().lower()]
    wrong = [f"has {text!r}" for text in ("No image is published", "REGISTRY", " charts/memory-migration-operator", "](../") if text in page]
    wrong += [f"{name} says that no image is published" for name in unpublished]
    if values:
        wanted = (f"`{image}@{digest}`", f"{chart}-", ".tgz")
        wrong += [f"has no {text!r}" for text in wanted if text not in page]
        wrong += [f"its values have no {text}" for text in (f'repository: "{image}"', f'digest: "{digest}"') if text not in values]
    if wrong:
        sys.exit(f"released.py: {package}: not true of a release: {'; '.join(wrong)}")


main()
