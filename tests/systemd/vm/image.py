"""The disk image that every virtual machine starts from: Debian with systemd and the project.

Debian comes from mmdebstrap. Python and the libraries are those that run the
tests, copied to /opt/daiic with the project installed into them by pip, so
what is tested in the machines is what was tested outside.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
CACHE = ROOT / "build" / "systemd-vm"

SUITE = "trixie"
ARCHIVE = "http://deb.debian.org/debian"
PACKAGES = """
    systemd systemd-sysv libnss-systemd udev dbus linux-image-cloud-amd64 kmod procps iproute2
    iputils-ping iptables curl ca-certificates libssl3t64 libffi8 zlib1g libbz2-1.0 liblzma5
    libsqlite3-0 libreadline8t64 libncursesw6 libuuid1
""".split()  # noqa: SIM905

# Of the libraries that run the tests, those that no daemon imports.
NOT_COPIED = """
    test tests idlelib tkinter turtledemo ensurepip lib2to3 mypy mypyc ruff* openai* schemathesis*
    hypothesis* jsonschema_rs* grpc_tools graphql* include *__mypyc* *.a __editable__* daiic*
    anthropic* langchain* langsmith* litellm* ollama* agents* mcp* tiktoken* griffe*
""".split()  # noqa: SIM905

ENABLED = (
    "systemd-networkd.service",
    "systemd-networkd-wait-online.service",
    "systemd-network-generator.service",
)
# What a machine that lives for minutes has no use for.
MASKED = (
    *("getty.target", "systemd-logind.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
    *("dpkg-db-backup.timer", "fstrim.timer", "e2scrub_all.timer"),
)

# A root shell on a virtio port, through which the driver gives its commands.
SHELL_UNIT = """\
[Unit]
Description=The test driver's shell
DefaultDependencies=no
BindsTo=dev-virtio\\x2dports-shell.device
After=sysinit.target dev-virtio\\x2dports-shell.device
[Service]
ExecStart=/bin/bash --noprofile --norc
Environment=HOME=/root PATH=/opt/daiic/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
WorkingDirectory=/
StandardInput=file:/dev/virtio-ports/shell
StandardOutput=file:/dev/virtio-ports/shell
StandardError=journal
OOMScoreAdjust=-1000
[Install]
WantedBy=basic.target
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A raw disk image and the kernel that boots it."""

    disk: Path
    kernel: Path


def build() -> Image:
    """Return the image of the project as it stands; only what changed is made again.

    Raises:
        RuntimeError: if the machine lacks a tool or the right to use it, with what to do.
    """
    for tool, package in (
        ("mmdebstrap", "mmdebstrap"),
        ("mke2fs", "e2fsprogs"),
        ("qemu-img", "qemu-utils"),
    ):
        if shutil.which(tool) is None:
            raise RuntimeError(f"{tool} is missing: apt-get install {package}")
    if os.geteuid() != 0:
        raise RuntimeError("the image of the virtual machines is made as root: run as root")
    if sys.base_prefix == "/usr":
        raise RuntimeError(
            "the system's own Python cannot be copied into the virtual machines: "
            "run the tests with one that pyenv or uv installed"
        )
    tree = CACHE / f"{SUITE}-{_stamp()}"
    if not tree.exists():
        _make_tree(tree)
    _install_project(tree)
    disk = CACHE / "disk.img"
    disk.unlink(missing_ok=True)
    # /tmp is a tmpfs in the machines; 512 MiB are for what they write elsewhere.
    size = int(_output("du", "-sm", str(tree)).split()[0]) + 512
    _run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(tree), str(disk), f"{size}M")
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    return Image(disk, kernel)


def _stamp() -> str:
    """Name what the tree is made from, the project itself excepted."""
    libraries = Path(sysconfig.get_path("purelib"))
    content = [SUITE, *PACKAGES, *NOT_COPIED, SHELL_UNIT, sys.version, str(libraries)]
    content += sorted(entry.name for entry in libraries.iterdir() if "daiic" not in entry.name)
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]


def _make_tree(tree: Path) -> None:
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    unfinished = tree.with_suffix(".unfinished")
    _run(
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")),
        SUITE,
        str(unfinished),
        ARCHIVE,
    )
    _copy_python(unfinished)
    for path in (unfinished / "boot").glob("initrd*"):
        path.unlink()
    (unfinished / "etc/fstab").write_text("")
    (unfinished / "etc/machine-id").write_text("")
    unit = unfinished / "etc/systemd/system/driver-shell.service"
    unit.write_text(SHELL_UNIT)
    _run("chroot", str(unfinished), "systemctl", "enable", "-q", unit.name)
    _run("chroot", str(unfinished), "systemctl", "enable", "-q", *ENABLED)
    _run("chroot", str(unfinished), "systemctl", "mask", "-q", *MASKED)
    unfinished.rename(tree)


def _copy_python(tree: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    ignore = shutil.ignore_patterns(*NOT_COPIED)
    prefix = tree / "opt/daiic"
    (prefix / "bin").mkdir(parents=True)
    base = Path(sys.base_prefix)
    shutil.copy2(base / "bin" / version, prefix / "bin" / version)
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(version)
    shutil.copytree(
        base / "lib" / version,
        prefix / "lib" / version,
        symlinks=True,
        ignore=lambda folder, names: (
            {*ignore(folder, names), "site-packages"}
            if folder == str(base / "lib" / version)
            else ignore(folder, names)
        ),
    )
    for shared in (base / "lib").glob("libpython*.so*"):
        shutil.copy2(shared, prefix / "lib" / shared.name)
    libraries = Path(sysconfig.get_path("purelib"))
    shutil.copytree(
        libraries, prefix / "lib" / version / "site-packages", symlinks=True, ignore=ignore
    )
    (tree / "etc/ld.so.conf.d/daiic.conf").write_text("/opt/daiic/lib\n")
    _run("chroot", str(tree), "ldconfig")


def _install_project(tree: Path) -> None:
    """Install the project's wheel and its shipped models into the tree."""
    wheels = CACHE / "wheel"
    # setuptools would put what an earlier build left in build/lib into the wheel.
    for left_over in (wheels, ROOT / "build" / "lib"):
        shutil.rmtree(left_over, ignore_errors=True)
    _run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
        "--wheel-dir", str(wheels), str(ROOT),
    )  # fmt: skip
    (wheel,) = wheels.glob("*.whl")
    shutil.copy2(wheel, tree / "tmp" / wheel.name)
    _run(
        "chroot", str(tree), "/opt/daiic/bin/python", "-m", "pip", "install", "-q", "--no-deps",
        "--no-index", "--force-reinstall", "--root-user-action=ignore", f"/tmp/{wheel.name}",
    )  # fmt: skip
    (tree / "tmp" / wheel.name).unlink()
    shim = ROOT / "src/target/release/dcf-shim"
    if not shim.exists():
        raise RuntimeError("the shim is not built: src/cargo.sh build --release")
    shutil.copy2(shim, tree / "opt/daiic/bin/dcf-shim")
    _install_hydramesh(tree)
    models = tree / "opt/daiic/share/daiic/local-models"
    shutil.rmtree(models, ignore_errors=True)
    if (ROOT / "local-models").exists():
        shutil.copytree(ROOT / "local-models", models)


def _install_hydramesh(tree: Path) -> None:
    """Put the head in Lisp beside the others, with its library where it looks for one."""
    built = ROOT / "src/hydramesh/build/hydramesh"
    if not built.exists():
        raise RuntimeError("HydraMesh is not built: make hydramesh")
    shutil.copy2(built, tree / "opt/daiic/bin/hydramesh")
    shutil.copy2(ROOT / "src/target/release/libdcf.so", tree / "opt/daiic/lib/libdcf.so")
    examples = tree / "opt/daiic/share/hydramesh/examples"
    shutil.rmtree(examples, ignore_errors=True)
    shutil.copytree(ROOT / "src/hydramesh/examples", examples)
    _run("chroot", str(tree), "ldconfig")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
