"""`daiic keygen`: make a cluster key."""

from pathlib import Path
from typing import Annotated

import typer

from daiic.cli.exits import USAGE, err, fail
from daiic.wire.keyfile import ClusterKey, KeyFileError


def keygen(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
) -> None:
    """Create a cluster key in FILE, readable only by you.

    Copy the file to every machine of the cluster, and set cluster_key_file to its path
    (on NixOS, services.daiic.clusterKeyFile).
    """
    try:
        ClusterKey.generate().save(file)
    except KeyFileError as error:
        raise fail(str(error), USAGE) from None
    err.print(f"wrote {file} with mode 0600; every head and worker of the cluster needs a copy")
