# The Python that DAIIC runs on: nixpkgs' own, with the few packages that have to be newer or freed of CUDA. They
# are changed for DAIIC alone, so that everything else on the machine stays as nixpkgs built and cached it.
{ lib, python3 }:
let
  extensions = map (file: import file { inherit lib; }) [
    ./bitsandbytes.nix
    ./transformers.nix
  ];

  python = python3.override (previous: {
    self = python;
    packageOverrides = lib.composeManyExtensions (
      [ (previous.packageOverrides or (_: _: { })) ] ++ extensions
    );
  });
in
python
