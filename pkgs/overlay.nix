# Adds DAIIC's packages to nixpkgs and changes none of its own. What the worker computes on follows nixpkgs'
# `cudaSupport` and `rocmSupport`; `pkgsCuda.daiic-worker` and `pkgsRocm.daiic-worker` are the variants. For other
# GPUs there is `daiic-worker-vulkan`, which runs GGUF models on them.
final: _prev: {
  daiicPython = import ./python.nix { inherit (final) lib python3; };
  daiic = final.callPackage ./daiic.nix { python3Packages = final.daiicPython.pkgs; };
  daiic-worker = final.daiic.override { withWorker = true; };
  daiic-worker-vulkan = final.daiic-worker.override {
    llama-cpp = final.llama-cpp.override { vulkanSupport = true; };
  };
  dcf = final.callPackage ./dcf.nix { };
  dcf-shim = final.callPackage ./dcf-shim.nix { };
  hydramesh = final.callPackage ./hydramesh.nix { };
  streamdb = final.callPackage ./streamdb.nix { };
}
