# How the live system gets its role at boot: the units exist but are not started. choose-role.sh writes what it
# found (key, heads) into drop-ins under /run and starts the units of the role.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  chooseRole = pkgs.writeShellApplication {
    name = "daiic-choose-role";
    runtimeInputs = [
      pkgs.avahi
      pkgs.daiic
      pkgs.gawk
      pkgs.util-linux
      config.systemd.package
    ];
    text = builtins.readFile ./choose-role.sh;
  };

  # Which of the two builds to run is known only after boot.
  workers = pkgs.writeShellApplication {
    name = "daiic-worker";
    text = ''
      if [[ -e /proc/driver/nvidia/version ]]; then
        exec ${lib.getExe' pkgs.pkgsCuda.daiic-worker "daiic-worker"} "$@"
      elif [[ -e /dev/kfd ]]; then
        exec ${lib.getExe' pkgs.pkgsRocm.daiic-worker "daiic-worker"} "$@"
      fi
      exec ${lib.getExe' pkgs.pkgsCuda.daiic-worker "daiic-worker"} --backend cpu "$@"
    '';
  };
in
{
  services.daiic = {
    head = {
      enable = true;
      advertise = true;
      listen = "0.0.0.0:7717";
      openFirewall = true;
      # The key is found at boot; without one choose-role.sh keeps the head on loopback.
      allowUnauthenticated = true;
      settings.allow_unauthenticated = false;
    };
    worker = {
      enable = true;
      package = workers;
      backend = "auto";
    };
  };

  services.avahi = {
    enable = true;
    nssmdns4 = true;
  };

  systemd.services = {
    daiic-head.wantedBy = lib.mkForce [ ];
    daiic-worker = {
      wantedBy = lib.mkForce [ ];
      serviceConfig = {
        # The only system whose GPU is not known when it is built.
        PrivateDevices = lib.mkForce false;
        DeviceAllow = lib.mkForce [
          "char-drm"
          "char-kfd"
          "char-nvidia"
          "char-nvidia-caps"
          "char-nvidia-frontend"
          "char-nvidia-uvm"
          "char-nvidiactl"
        ];
        SupplementaryGroups = [
          "render"
          "video"
        ];
      };
    };

    daiic-role = {
      description = "Choice of this machine's role in the cluster";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "avahi-daemon.service"
        "network-online.target"
      ];
      before = [ "getty@tty1.service" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = lib.getExe chooseRole;
        RuntimeDirectory = "daiic";
        RuntimeDirectoryPreserve = true;
        StandardInput = "tty";
        StandardOutput = "tty";
        StandardError = "tty";
        TTYPath = "/dev/tty1";
        # It may have to wait for a person's answer, or for a head to start.
        TimeoutStartSec = "infinity";
      };
    };
  };

  environment.systemPackages = [ chooseRole ];
}
