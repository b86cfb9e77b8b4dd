"""Writes an OCI image as one tar, of local files, without a container engine.

mkimage.py NAME OUT.tar [--architecture ARCH] [--entrypoint PROGRAM] [--user UID:GID] [--env K=V]... [--dir /PATH[:MODE]]...
           SOURCE:DEST...
mkimage.py NAME OUT.tar --merge IN.tar...

NAME is a full reference (localhost/pause:1). A SOURCE may be a folder. ARCH is in Go's words, by default this machine's. One
uncompressed layer; the same files give the same image. --merge makes one image for several architectures of images that
this wrote. Standard library only.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import tarfile
from pathlib import Path

MEDIA = "application/vnd.oci.image."
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--architecture", default=ARCHITECTURES.get(platform.machine(), platform.machine()))
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("--entrypoint")
    parser.add_argument("--user")
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--dir", action="append", default=[])
    return parser.parse_intermixed_args()


def entry(name, mode, size=0, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name.lstrip("/"))
    info.mode, info.size, info.type = mode, size, kind
    return info


def anonymous(info):
    """Byte code is left out, and so are the owner and times of this machine's files."""
    if "__pycache__" in info.name:
        return None
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def layer(files, dirs):
    pairs = [file.split(":") for file in files]
    folders = {path: int(mode or "755", 8) for path, _, mode in (d.partition(":") for d in dirs)}
    for _, dest in pairs:
        for parent in list(Path(dest).parents)[:-1]:
            folders.setdefault(str(parent), 0o755)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in sorted(folders):
            tar.addfile(entry(folder, folders[folder], kind=tarfile.DIRTYPE))
        for source, dest in pairs:
            if os.path.isdir(source):
                tar.add(source, dest.lstrip("/"), filter=anonymous)
            else:
                data = Path(source).read_bytes()
                mode = 0o755 if os.access(source, os.X_OK) else 0o644
                tar.addfile(entry(dest, mode, len(data)), io.BytesIO(data))
    return out.getvalue()


def blob(blobs, data, media):
    data = data if isinstance(data, bytes) else json.dumps(data, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"mediaType": MEDIA + media, "digest": "sha256:" + digest, "size": len(data)}


def image(args, blobs):
    where = {"architecture": args.architecture, "os": "linux"}
    files = blob(blobs, layer(args.files, args.dir), "layer.v1.tar")
    run = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", *args.env]}
    if args.entrypoint:
        run["Entrypoint"] = [args.entrypoint]
    if args.user:
        run["User"] = args.user
    rootfs = {"type": "layers", "diff_ids": [files["digest"]]}
    config = blob(blobs, where | {"config": run, "rootfs": rootfs}, "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json", "config": config, "layers": [files]}
    return blob(blobs, manifest, "manifest.v1+json") | {"platform": where}


def merged(archives, blobs):
    images = []
    for archive in archives:
        with tarfile.open(archive) as tar:
            images += json.load(tar.extractfile("index.json"))["manifests"]
            blobs |= {m.name.rsplit("/", 1)[1]: tar.extractfile(m).read() for m in tar if m.name.startswith("blobs/sha256/")}
    images = [{key: value for key, value in image.items() if key != "annotations"} for image in images]
    index = {"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json", "manifests": images}
    return blob(blobs, index, "index.v1+json")


def main():
    args = arguments()
    blobs = {}
    whole = merged(args.files, blobs) if args.merge else image(args, blobs)
    tag = args.name.rsplit(":", 1)[1]
    names = {"io.containerd.image.name": args.name, "org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "manifests": [whole | {"annotations": names}]}
    parts = {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": index}
    encoded = {name: json.dumps(part).encode() for name, part in parts.items()}
    encoded |= {"blobs/sha256/" + digest: data for digest, data in blobs.items()}
    with tarfile.open(args.out, "w") as tar:
        for name, data in encoded.items():
            tar.addfile(entry(name, 0o644, len(data)), io.BytesIO(data))


main()
