# The all-in-one live system: boots from USB on BIOS and UEFI, drives NVIDIA and AMD cards, and becomes a worker,
# a head, both, or a developer's shell; choose-role.sh says how it decides.
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
    # Two builds of torch, one a vendor, are most of the image: it has to fit a stick of 16 GB. The flake check
    # `iso-size` holds it to 14 GiB.
    squashfsCompression = "zstd -Xcompression-level 19";
    appendToMenuLabel = " (asks what to be)";
    configurationName = "DAIIC";
  };

  # One entry of the boot menu a role; the entry without a role asks.
  specialisation = lib.genAttrs [ "worker" "head" "both" "shell" ] (role: {
    configuration = {
      isoImage.configurationName = lib.mkForce "DAIIC ${role}";
      isoImage.appendToMenuLabel = lib.mkForce "";
      boot.kernelParams = [ "daiic.role=${role}" ];
    };
  });

  # The kernel loads the driver of the card that it finds.
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

  # Whoever sits at the machine may use it; from the network one needs a key, see role.nix.
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
