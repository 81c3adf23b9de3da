#!/usr/bin/env python3
"""Writes a software bill of materials: an SPDX 2.3 document, as JSON, of what an image holds.

usage: sbom.py NAME VERSION < COMPONENTS

A line of COMPONENTS is a component: `deb NAME VERSION`, `cargo NAME vVERSION` as cargo tree has it,
or a path of the Nix store. SOURCE_DATE_EPOCH is the document's time.
https://spdx.github.io/spdx-spec/v2.3/
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable

STORE_PATH = re.compile(r"/nix/store/[a-z0-9]{32}-(?P<name>.+)")
# As Nix parses names: the version is what follows the first hyphen that no letter follows.
VERSION = re.compile(r"(?P<name>.+?)(?:-(?P<version>[^A-Za-z].*))?")

Component = tuple[str, str, str]
"""The type of its purl, its name and its version."""


def component(line: str) -> Component:
    """Return what a line says.

    Raises:
        ValueError: if it is none.
    """
    if path := STORE_PATH.fullmatch(line):
        parts = VERSION.fullmatch(path["name"])
        assert parts
        return "nix", parts["name"], parts["version"] or ""
    kind, name, version, *_ = line.split()
    return kind, name, version.removeprefix("v") if kind == "cargo" else version


def package(found: Component) -> dict[str, object]:
    """Return SPDX's package for a component."""
    kind, name, version = found
    identity = re.sub(r"[^A-Za-z0-9.-]", "-", f"SPDXRef-{kind}-{name}-{version}")
    place = f"{kind}/debian" if kind == "deb" else kind
    return {
        "SPDXID": identity,
        "name": name,
        **({"versionInfo": version} if version else {}),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": f"pkg:{place}/{name}" + (f"@{version}" if version else ""),
            }
        ],
    }


def document(name: str, version: str, components: Iterable[Component]) -> dict[str, object]:
    """Return the SPDX document of an image called `name`."""
    image = {
        "SPDXID": "SPDXRef-image",
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "CONTAINER",
    }
    packages = [package(found) for found in sorted(set(components))]
    digest = hashlib.sha256(json.dumps(packages).encode()).hexdigest()[:32]
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    created = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{name}-{version}",
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{version}-{digest}",
        "creationInfo": {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: DAIIC-images/sbom.py"],
        },
        "packages": [image, *packages],
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": "SPDXRef-image",
            },
            *(
                {
                    "spdxElementId": "SPDXRef-image",
                    "relationshipType": "CONTAINS",
                    "relatedSpdxElement": found["SPDXID"],
                }
                for found in packages
            ),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes an SPDX document of an image.")
    parser.add_argument("name")
    parser.add_argument("version")
    options = parser.parse_args()
    found = [component(line.strip()) for line in sys.stdin if line.strip()]
    json.dump(document(options.name, options.version, found), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
