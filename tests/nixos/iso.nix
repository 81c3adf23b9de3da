# The live system keeps its size, boots on BIOS and on UEFI, and becomes what its command line says.
{ self, pkgs }:
let
  inherit (pkgs) lib;

  # The live system as it is, with the test driver's shell, and told to be a whole node.
  live =
    (self.nixosConfigurations.iso.extendModules {
      modules = [
        (
          { modulesPath, ... }:
          {
            imports = [ "${modulesPath}/testing/test-instrumentation.nix" ];
            boot.kernelParams = [
              "daiic.key=none"
              "daiic.role=both"
            ];
          }
        )
      ];
    }).config;
  image = "${live.system.build.isoImage}/${live.image.filePath}";

  qemu = "${lib.getExe' pkgs.qemu_test "qemu-system-x86_64"} -machine accel=kvm:tcg -cpu max";

  boots =
    name: flags:
    pkgs.testers.runNixOSTest {
      name = "iso-${name}";
      nodes = { };
      testScript = ''
        machine = create_machine(
            "${qemu} -m 8192 -smp 2 ${lib.concatStringsSep " " flags}"
            " -netdev user,id=net0 -device virtio-net-pci,netdev=net0"
            " -device usb-ehci -drive id=stick,file=${image},if=none,readonly=on,format=raw"
            " -device usb-storage,drive=stick"
        )
        ${builtins.readFile ./iso.py}
      '';
    };
in
{
  iso-bios = boots "bios" [ ];

  iso-uefi = boots "uefi" [
    "-drive if=pflash,format=raw,unit=0,readonly=on,file=${pkgs.OVMF.firmware}"
    "-drive if=pflash,format=raw,unit=1,readonly=on,file=${pkgs.OVMF.variables}"
  ];

  # 14 GiB, so that it fits a stick of 16 GB with room for what is written to it.
  iso-size = pkgs.runCommand "iso-size" { } ''
    size=$(stat --format %s ${self.packages.x86_64-linux.iso}/${self.nixosConfigurations.iso.config.image.filePath})
    if (( size > 14 << 30 )); then
      echo "the live image has $size bytes, more than 14 GiB" >&2
      exit 1
    fi
    touch $out
  '';
}
