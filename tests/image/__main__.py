"""Build the image of the Dockerfile, and run it as compose.yaml's services do, without Docker.

    python -m tests.image [--base ROOT] [--keep DIR [--no-build]] [--profile plain|scale]

It needs buildah (`apt install buildah`) and root; the profile `scale` also redis-server. Everything is in a scratch
directory: the image, the volumes, the containers. The network is this machine's, so PORT is a free one; everything else
that a service is given, its environment, user, volume and lack of capabilities, is as compose.yaml and the Dockerfile
have it. Where the base image cannot be pulled, one is made by debootstrap from Debian's own Python 3.11, and said so;
`--base` is one made before.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.image.buildah import Buildah, build_image
from tests.image.plain import try_plain
from tests.image.scale import try_scale

PROFILES = {"plain": try_plain, "scale": try_scale}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="a root file system to use instead of the base image")
    parser.add_argument("--keep", type=Path, help="a directory for image and volumes that is not deleted")
    parser.add_argument("--no-build", action="store_true", help="try the image in --keep")
    parser.add_argument("--profile", choices=PROFILES, action="append", help="only this one")
    arguments = parser.parse_args()
    if shutil.which("buildah") is None or os.geteuid() != 0:
        sys.exit("SKIPPED: the image is not built, because buildah is not installed or this is not root.")
    with tempfile.TemporaryDirectory(prefix="image-") as scratch:
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
        buildah = Buildah(arguments.keep or Path(scratch))
        if not (arguments.keep and arguments.no_build):
            build_image(buildah, base=arguments.base)
        for profile in arguments.profile or PROFILES:
            PROFILES[profile](buildah)


if __name__ == "__main__":
    main()
