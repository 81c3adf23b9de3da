# The all-in-one live system: boots from USB on BIOS and UEFI, drives NVIDIA and AMD cards, and becomes a worker,
# a head, both, or a shell for developers; see choose-role.sh.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:
{
  imports = [
    "${modulesPath}/installer/cd-dvd/iso-image.nix"
    ./role.nix
    ./workbench.nix
  ];

  image.baseName = lib.mkForce "daiic-live-${pkgs.daiic.version}-${pkgs.stdenv.hostPlatform.system}";
  isoImage = {
    volumeID = "DAIIC_LIVE";
    makeEfiBootable = true;
    makeUsbBootable = true;
    # Two builds of torch, one per vendor, are most of the image. It has to fit on a 16 GB stick; the flake check
    # `iso-size` limits it to 14 GiB.
    squashfsCompression = "zstd -Xcompression-level 19";
    appendToMenuLabel = " (asks for the role)";
    configurationName = "DAIIC";
  };

  # One entry in the boot menu for each role; the entry without a role asks.
  specialisation = lib.genAttrs [ "worker" "head" "both" "shell" ] (role: {
    configuration = {
      isoImage.configurationName = lib.mkForce "DAIIC ${role}";
      isoImage.appendToMenuLabel = lib.mkForce "";
      boot.kernelParams = [ "daiic.role=${role}" ];
    };
  });

  # The kernel loads the driver for the GPU that it finds.
  nixpkgs.config.allowUnfree = true;
  services.xserver.videoDrivers = [ "nvidia" ];
  hardware.nvidia.open = true;
  hardware.graphics.enable = true;
  hardware.enableAllHardware = true;
  hardware.enableRedistributableFirmware = true;

  networking = {
    hostName = "";
    networkmanager.enable = true;
  };

  # A person at the machine may use it without a password; over the network, ssh requires a key, see role.nix.
  users.users.daiic = {
    isNormalUser = true;
    description = "DAIIC";
    extraGroups = [
      "networkmanager"
      "render"
      "video"
      "wheel"
    ];
    hashedPassword = "!";
  };
  security.sudo.wheelNeedsPassword = false;
  services.getty.autologinUser = "daiic";
  services.openssh = {
    enable = true;
    settings = {
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
      PermitRootLogin = "no";
    };
    authorizedKeysFiles = [ "/run/daiic/authorized_keys" ];
  };

  system.stateVersion = config.system.nixos.release;
}
