# transformers with what the worker's continuous batching needs (sampling of its own for every request, from 5.8);
# 5.14 still takes the tokenizers of nixpkgs 26.05. A newer one in nixpkgs is left as it is.
{ lib }:
python-final: python-prev:
let
  version = "5.14.1";
in
{
  # Which names an extension gives must not depend on `python-prev`: nixpkgs opens the set that these names make
  # before it knows any package of it.
  transformers =
    if lib.versionAtLeast python-prev.transformers.version "5.8" then
      python-prev.transformers
    else
      python-prev.transformers.overridePythonAttrs {
        inherit version;
        src = python-final.fetchPypi {
          pname = "transformers";
          inherit version;
          hash = "sha256-YNGWwneB6s+GN+K1M/UXWCkHrW+a4UIEbWtpQxpbIXM=";
        };
      };
}
