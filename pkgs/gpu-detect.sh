# shellcheck shell=bash
# Finds out what this machine can compute on: an NVIDIA GPU, otherwise an AMD GPU, otherwise the CPU. Sourced by
# the development shells, which print what was found and why.
#
# daiic_detect_gpu [ROOT] sets DAIIC_GPU (cuda, rocm or cpu) and DAIIC_GPU_REASON, a sentence. ROOT is a
# prefix of /proc, /sys and /dev, for tests.

daiic_detect_gpu() {
  local root=${1:-} version vendor device nvidia_card=no amd_card=no

  for device in "$root"/sys/bus/pci/devices/*; do
    [[ -r $device/vendor && -r $device/class ]] || continue
    # Display controllers (class 0x03) and processing accelerators (0x12).
    [[ $(<"$device/class") =~ ^0x(03|12) ]] || continue
    vendor=$(<"$device/vendor")
    [[ $vendor == 0x10de ]] && nvidia_card=yes
    [[ $vendor == 0x1002 ]] && amd_card=yes
  done

  # WSL has no PCI device and no driver of its own; Windows' driver is behind /dev/dxg.
  if [[ -e $root/dev/dxg && -e $root/usr/lib/wsl/lib/libcuda.so.1 ]]; then
    DAIIC_GPU=cuda
    DAIIC_GPU_REASON="NVIDIA's driver for Windows serves this WSL system (/dev/dxg)."
  elif [[ -r $root/proc/driver/nvidia/version && -e $root/dev/nvidiactl ]]; then
    version=$(grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' "$root/proc/driver/nvidia/version" | head -n 1)
    DAIIC_GPU=cuda
    DAIIC_GPU_REASON="NVIDIA's driver ${version:-of unknown version} is loaded."
  elif [[ -e $root/dev/kfd ]] && daiic_has_amd_compute_node "$root"; then
    DAIIC_GPU=rocm
    DAIIC_GPU_REASON="the amdgpu driver is loaded and offers a compute node (/dev/kfd)."
    if [[ ! -r $root/dev/kfd || ! -w $root/dev/kfd ]]; then
      DAIIC_GPU_REASON+=" You cannot open it yet: add yourself to the groups render and video."
    fi
  elif [[ $nvidia_card == yes ]]; then
    DAIIC_GPU=cpu
    DAIIC_GPU_REASON="there is an NVIDIA GPU, but its driver is not loaded"
    DAIIC_GPU_REASON+=" (NixOS: services.xserver.videoDrivers = [ \"nvidia\" ])."
  elif [[ $amd_card == yes ]]; then
    DAIIC_GPU=cpu
    DAIIC_GPU_REASON="there is an AMD GPU, but amdgpu offers no compute node for it"
    DAIIC_GPU_REASON+=" (NixOS: boot.kernelModules = [ \"amdgpu\" ])."
  else
    DAIIC_GPU=cpu
    DAIIC_GPU_REASON="there is neither an NVIDIA nor an AMD GPU."
  fi
}

# The kernel lists CPUs as compute nodes too; a GPU is one with SIMD units.
daiic_has_amd_compute_node() {
  grep -qsE '^simd_count [1-9]' "$1"/sys/class/kfd/kfd/topology/nodes/*/properties
}

# daiic_gpu_library_folder LINKS [ROOT] prints the folder with the driver's libraries for DAIIC_GPU, which torch and
# bitsandbytes open by name. Where that folder has all libraries of the system, using it would mix two C libraries;
# then the driver's own are linked into the folder LINKS, and that is printed.
daiic_gpu_library_folder() {
  local links=$1 root=${2:-} folder library

  if [[ $DAIIC_GPU == cpu ]]; then
    return
  fi
  if [[ $DAIIC_GPU == rocm ]]; then
    # Everything but the kernel driver comes with the packages.
    if [[ -d $root/run/opengl-driver/lib ]]; then
      printf '%s' "$root/run/opengl-driver/lib"
    fi
    return
  fi
  for folder in /run/opengl-driver/lib /usr/lib/wsl/lib; do
    if [[ -e $root$folder/libcuda.so.1 ]]; then
      printf '%s' "$root$folder"
      return
    fi
  done
  for folder in /usr/lib/x86_64-linux-gnu/nvidia/current /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib; do
    [[ -e $root$folder/libcuda.so.1 ]] || continue
    mkdir -p "$links"
    for library in "$root$folder"/lib{cuda,nvidia-ml,nvidia-ptxjitcompiler,nvidia-nvvm}.so.[0-9]*; do
      if [[ -e $library ]]; then
        ln -sfn "$library" "$links/"
      fi
    done
    printf '%s' "$links"
    return
  done
}
