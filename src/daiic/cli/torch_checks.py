"""What `daiic doctor` says of torch: what it was built for, its origin, if it fits the GPU."""

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from types import ModuleType

from daiic.cli.findings import Finding
from daiic.cli.machine_checks import AMD, NVIDIA
from daiic.shown import shown

STORE = Path("/nix/store")

_BACKEND = {NVIDIA: "cuda", AMD: "rocm"}
_PLATFORM = {"cuda": "CUDA", "rocm": "ROCm", "cpu": "the CPU"}


def check_torch(vendors: set[str]) -> Finding:
    """Return what is to be said of torch on a machine with GPUs of these vendors."""
    if importlib.util.find_spec("torch") is None:
        return Finding(
            "note",
            "torch",
            "not installed: this machine can run a head and a gateway, but not a worker",
            "to run a worker: pip install 'daiic[worker]'",
        )
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding(
            "problem",
            "torch",
            f"cannot be imported: {shown(str(error))}",
            "install it again; a library that is missing is often one of the driver's",
        )
    backend = "rocm" if torch.version.hip else "cuda" if torch.version.cuda else "cpu"
    in_store = Path(str(torch.__file__)).resolve().is_relative_to(STORE)
    says = f"{torch.__version__} from {_origin(in_store)}, built for {_built_for(torch)}"
    wanted = {_BACKEND[vendor] for vendor in vendors & set(_BACKEND)}
    if not wanted:
        return Finding("ok", "torch", f"{says}: computes on the CPU")
    if backend not in wanted:
        gpu = " and ".join(sorted(_PLATFORM[name] for name in wanted))
        return Finding(
            "warning",
            "torch",
            f"{says}, but the GPU here needs a build for {gpu}",
            _how_to_get(sorted(wanted)[0], in_store),
        )
    if not torch.cuda.is_available():
        return Finding("warning", "torch", f"{says}, sees no GPU", "check the driver above")
    unfit = ", ".join(name for name, fits in _devices(torch) if not fits)
    if unfit:
        return Finding(
            "warning",
            "torch",
            f"{says}, has no code for {unfit}, only for {shown(' '.join(_architectures(torch)))}",
            "ROCm: set HSA_OVERRIDE_GFX_VERSION to a similar card's (NixOS: "
            "services.daiic.worker.rocmOverrideGfx)"
            if backend == "rocm"
            else "install a version of torch that is built for this card, or run the worker with "
            "backend = cpu",
        )
    return Finding("ok", "torch", f"{says}, sees {', '.join(name for name, _ in _devices(torch))}")


def _built_for(torch: ModuleType) -> str:
    """Return "CUDA 12.8", "ROCm 7.2" or "the CPU"."""
    for platform, version in (("ROCm", torch.version.hip), ("CUDA", torch.version.cuda)):
        if version:
            return f"{platform} {'.'.join(str(version).split('.')[:2])}"
    return "the CPU"


def _origin(in_store: bool) -> str:
    if in_store:
        return "the Nix store"
    try:
        installer = importlib.metadata.distribution("torch").read_text("INSTALLER")
    except importlib.metadata.PackageNotFoundError:
        installer = None
    return shown((installer or "").strip()) or "an unknown installer"


def _how_to_get(backend: str, in_store: bool) -> str:
    if in_store:
        return (
            f'on NixOS: services.daiic.worker.backend = "{backend}"; elsewhere: nix develop '
            f"github:alh477/daiic#{backend}"
        )
    return f"install torch for {_PLATFORM[backend]} as https://pytorch.org/get-started/locally says"


def _architectures(torch: ModuleType) -> list[str]:
    """Return what torch has code for: sm_90 and compute_90 (CUDA), gfx1100 (ROCm)."""
    return [str(name) for name in torch.cuda.get_arch_list()]


def _devices(torch: ModuleType) -> list[tuple[str, bool]]:
    """Return the name of each device, and whether torch has code that runs on it."""
    built = _architectures(torch)
    devices = []
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        if torch.version.hip:
            # With its features, such as gfx90a:sramecc+:xnack-; torch's list may have them too.
            card = properties.gcnArchName.partition(":")[0]
            fits = card in {name.partition(":")[0] for name in built}
        else:
            fits = any(_runs_on(name, (properties.major, properties.minor)) for name in built)
        # A build that lists nothing says nothing.
        devices.append((shown(properties.name), fits or not built))
    return devices


def _runs_on(built: str, capability: tuple[int, int]) -> bool:
    """Machine code (sm) runs on later cards of its generation, PTX (compute) on any later one."""
    matched = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", built)
    if matched is None:
        return False
    kind, major, minor, only = matched.groups()
    code = (int(major), int(minor))
    if only == "a":
        return code == capability
    if kind == "sm" or only == "f":
        return code[0] == capability[0] and code <= capability
    return code <= capability
