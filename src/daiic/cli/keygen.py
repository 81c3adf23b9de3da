"""`daiic keygen`: make a cluster key."""

from pathlib import Path
from typing import Annotated

import typer

from daiic.cli.exits import USAGE, err, fail
from daiic.wire.keyfile import ClusterKey, KeyFileError


def keygen(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
) -> None:
    """Make a cluster key in FILE, readable only by you.

    Copy it to every machine of the cluster and name it as cluster_key_file
    (services.daiic.*.clusterKeyFile on NixOS).
    """
    try:
        ClusterKey.generate().save(file)
    except KeyFileError as error:
        raise fail(str(error), USAGE) from None
    err.print(f"wrote {file} with mode 0600; every head and worker of the cluster needs a copy")
