# Recipes of bitsandbytes before 0.48.1 name CUDA's compiler whatever torch computes on, and its licence keeps a
# machine without `allowUnfree` from evaluating them; off CUDA this drops it. Their sources have no kernels for
# ROCm, where the CPU's serve and the worker says so; newer recipes have them and are left as they are.
{ lib }:
python-final: python-prev: {
  bitsandbytes =
    if
      python-prev.torch.cudaSupport || lib.versionAtLeast python-prev.bitsandbytes.version "0.48.1"
    then
      python-prev.bitsandbytes
    else
      python-prev.bitsandbytes.overridePythonAttrs {
        nativeBuildInputs = [ python-final.pkgs.cmake ];
        CUDA_HOME = null;
        NVCC_PREPEND_FLAGS = null;
      };
}
