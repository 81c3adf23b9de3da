#!/usr/bin/env bash
# json_schema_suite.sh FOLDER: puts the published cases of JSON Schema there, which come with the sources of jsonschema.
set -euo pipefail
cd "$(dirname "$0")/../../.."
version=$(sed -n 's/^jsonschema==//p' constraints.txt)
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
.venv/bin/pip download --quiet --no-deps --no-binary jsonschema --dest "$sources" "jsonschema==$version"
rm -rf "$1"
mkdir -p "$1"
tar --extract --file "$sources"/jsonschema-*.tar.gz --directory "$1" --strip-components 2 --wildcards '*/json/tests/draft2020-12'
