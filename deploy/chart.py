"""Makes a copy of a chart as a release has it: with its image, in its values and on its page, with where its alerts lead, and with
what Artifact Hub shows. Needs PyYAML.

Usage: chart.py CHART NEW_FOLDER IMAGE DIGEST DOCS    CHART is a folder of charts/, IMAGE a repository without a tag, DOCS the
                                                      address of the release's files; '' leaves values as they are
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import yaml

import links

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = ("local-to-remote", "remote-to-local", "verify", "schedule")


def resources():
    """The custom resources as Artifact Hub lists them."""
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        crd = yaml.safe_load(file.read_text(encoding="utf-8"))
        version = next(each for each in crd["spec"]["versions"] if each["storage"])
        text = version["schema"]["openAPIV3Schema"].get("description", crd["spec"]["names"]["kind"])
        kind = crd["spec"]["names"]["kind"]
        yield {
            "kind": kind,
            "version": version["name"],
            "name": crd["metadata"]["name"],
            "displayName": kind,
            "description": re.split(r"(?<=\.)\s", text.strip())[0],
        }


def examples():
    for name in EXAMPLES:
        yield from yaml.safe_load_all((ROOT / "deploy" / "examples" / f"{name}.yaml").read_text(encoding="utf-8"))


def annotations(chart, image):
    command = [sys.executable, ROOT / "deploy" / "changelog.py", "changes", chart["version"]]
    said = subprocess.run(command, check=True, capture_output=True)
    found = {
        "artifacthub.io/crds": list(resources()),
        "artifacthub.io/crdsExamples": list(examples()),
        "artifacthub.io/changes": json.loads(said.stdout),
    }
    if image:
        found["artifacthub.io/images"] = [{"name": chart["name"], "image": image}]
    version = chart["version"]
    return {key: yaml.safe_dump(value, sort_keys=False, allow_unicode=True) for key, value in found.items()} | {
        "artifacthub.io/prerelease": str("-" in version or version.startswith("0.")).lower()
    }


def set_values(values, given):
    """Lines of the file, so that its comments stay."""
    text = values.read_text(encoding="utf-8")
    for key, value in given.items():
        text, times = re.subn(rf'^  {key}: ""$', f"  {key}: {json.dumps(value)}", text, count=1, flags=re.MULTILINE)
        if times != 1:
            sys.exit(f"chart.py: {values}: has no line '  {key}: \"\"' to set")
    values.write_text(text, encoding="utf-8")


def page(chart, image, docs):
    """The chart's page, as true of the package as the folder's is of the folder: (pattern, text, how often), each must fit."""
    name, version = chart["name"], chart["version"]
    changes = [(r"charts/(memory-migration-operator(?:-crds)?)(?=[ \n])", rf"\1-{version}.tgz", None)]
    if image:
        changes += [(r" --set image\.repository=REGISTRY/memory-migration-operator(?=\n)", "", None)]
    if image and name == "memory-migration-operator":
        repository, digest = image.split("@")
        changes += [
            (r"- \*\*Image\*\*: required\. No image is published.*?push it to your registry\. ", f"- **Image**: `{image}`.\n  To run another one, set `image.repository` and `image.digest`, or `image.tag` and an empty `image.digest`. ", 1),
            (r"build and push the new version's image, then `helm upgrade`", "`helm upgrade` to the new version's package", 1),
            (r'(\| image\.digest \| string \|) `""` ', rf"\1 `{json.dumps(digest)}` ", 1),
            (r'(\| image\.repository \| string \|) `""` \| Required\. ', rf"\1 `{json.dumps(repository)}` | ", 1),
        ]
    if docs and name == "memory-migration-operator":
        changes += [(r'(\| prometheusRule\.docsURL \| string \|) `""` ', rf"\1 `{json.dumps(docs)}` ", 1)]
    return changes


def set_page(file, changes):
    text = file.read_text(encoding="utf-8")
    for pattern, new, times in changes:
        text, found = re.subn(pattern, new, text, flags=re.DOTALL)
        if times is not None and found != times:
            sys.exit(f"chart.py: {file}: {pattern} is in it {found} times, not {times}")
    file.write_text(text, encoding="utf-8")


def main():
    source, out, image, digest, docs = sys.argv[1:]
    folder = pathlib.Path(out)
    shutil.copytree(source, folder)
    file = folder / "Chart.yaml"
    chart = yaml.safe_load(file.read_text(encoding="utf-8"))
    has_image = image and chart["name"] == "memory-migration-operator"
    if chart["name"] == "memory-migration-operator":
        given = {"repository": image, "digest": digest if image else "", "docsURL": docs}
        set_values(folder / "values.yaml", {key: value for key, value in given.items() if value})
    # not the folder's: a released one that asks for an image would send people to build one
    if image:
        set_page(folder / "README.md", page(chart, f"{image}@{digest}", docs))
    if docs:
        readme = folder / "README.md"
        readme.write_text(links.absolute(readme.read_text(encoding="utf-8"), docs, f"charts/{chart['name']}"), encoding="utf-8")
    if has_image:
        set_page(folder / "values.yaml", [(r"# -- Required\. Image of", "# -- Image of", 1)])
        unset = r"image\.repository is not set, and no image is published yet: [^\"]*"
        other = "image.repository is empty: leave it out for the released image, or name yours"
        set_page(folder / "templates" / "_helpers.tpl", [(unset, other, 1)])
    chart["annotations"] |= annotations(chart, f"{image}@{digest}" if has_image else None)
    file.write_text(yaml.safe_dump(chart, sort_keys=False, allow_unicode=True, width=1000), encoding="utf-8")


main()
