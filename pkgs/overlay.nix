# Adds DAIIC's packages to nixpkgs. What the worker computes on follows nixpkgs' `cudaSupport` and
# `rocmSupport`; `pkgsCuda.daiic-worker` and `pkgsRocm.daiic-worker` are the variants.
final: prev: {
  daiic = final.callPackage ./daiic.nix { };
  daiic-worker = final.daiic.override { withWorker = true; };
  dcf-shim = final.callPackage ./dcf-shim.nix { };

  pythonPackagesExtensions =
    prev.pythonPackagesExtensions
    ++ [ (import ./transformers.nix { inherit (final) lib; }) ]
    ++ final.lib.optional (prev.config.rocmSupport or false) (
      import ./bitsandbytes-rocm.nix { inherit (final) lib rocmPackages; }
    );
}
