# How the live system takes its role at boot: the units are there but not started; choose-role.sh writes what it
# found (key, heads) into drop-ins under /run and starts those of the role.
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

  # Which of the two builds serves is known when the machine has booted.
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
        # The one system whose card is not known when it is built.
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
      description = "Choice of what this machine is in the cluster";
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
        # A person may be asked, and a head may still be starting.
        TimeoutStartSec = "infinity";
      };
    };
  };

  environment.systemPackages = [ chooseRole ];
}
