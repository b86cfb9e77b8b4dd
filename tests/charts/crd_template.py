"""Makes a template of the CRD chart from crds/: the same text, with the annotation that keeps it through an uninstall.

Text, not parsed YAML: Helm's own conversion would write large integers as floats. Prints the template.
Usage: crd_template.py CRD.yaml
"""

import sys

HEAD = "# Generated from crds/ by `make charts-generate`: do not edit.\n"
KEEP = """  annotations:
    # Removing it would remove every object of this kind in the cluster.
    helm.sh/resource-policy: keep
"""

text = open(sys.argv[1], encoding="utf-8").read()
body = text[text.index("apiVersion:") :]
if body.count("\nmetadata:\n") != 1 or "annotations:" in body[: body.index("\nspec:\n")]:
    sys.exit(f"crd_template.py: {sys.argv[1]}: expected one top-level metadata without annotations")
body = body.replace("{{", '{{ "{{" }}')
sys.stdout.write(HEAD + body.replace("\nmetadata:\n", "\nmetadata:\n" + KEEP))
