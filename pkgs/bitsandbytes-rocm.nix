# nixpkgs builds bitsandbytes for CUDA or the CPU; with `rocmSupport` this builds its HIP kernels instead, for
# the same GPUs as torch. Applied to the Python package set through `pythonPackagesExtensions`.
{ lib, rocmPackages }:
python-final: python-prev: {
  bitsandbytes = python-prev.bitsandbytes.overridePythonAttrs (old: {
    # Not the CUDA compiler that the recipe names in every case.
    nativeBuildInputs = [
      python-final.pkgs.cmake
      rocmPackages.clr
    ];
    buildInputs = with rocmPackages; [
      hipblas
      hipblas-common
      hipblaslt
      hipcub
      hiprand
      hipsparse
      rocprim
      rocrand
    ];
    cmakeFlags = [
      (lib.cmakeFeature "COMPUTE_BACKEND" "hip")
      (lib.cmakeFeature "CMAKE_HIP_COMPILER" "${rocmPackages.clr.hipClangPath}/clang++")
      (lib.cmakeFeature "CMAKE_HIP_ARCHITECTURES" (
        lib.concatStringsSep ";" rocmPackages.clr.gpuTargets
      ))
    ];
    env = removeAttrs (old.env or { }) [
      "CUDA_HOME"
      "NVCC_PREPEND_FLAGS"
    ]
    // {
      ROCM_PATH = "${rocmPackages.clr}";
      HIP_DEVICE_LIB_PATH = "${rocmPackages.rocm-device-libs}/amdgcn/bitcode";
    };
    CUDA_HOME = null;
    NVCC_PREPEND_FLAGS = null;
  });
}
