# Whole machines: one a role, backend and vendor, and the smallest that the README promises.
let
  key.services.daiic.clusterKeyFile = "/var/lib/secrets/daiic-cluster-key";
  heads = [ "10.0.0.1:7717" ];

  # What the operations page asks of a machine for each vendor.
  nvidia = {
    services.xserver.videoDrivers = [ "nvidia" ];
    hardware.nvidia.open = true;
    nixpkgs.config.allowUnfree = true;
  };
  amd.boot.kernelModules = [ "amdgpu" ];

  worker = backend: vendor: {
    imports = [
      key
      vendor
    ];
    services.daiic.worker = {
      enable = true;
      inherit backend heads;
    };
  };
in
{
  one-line-worker.services.daiic.worker.enable = true;

  head = {
    imports = [ key ];
    services.daiic.head = {
      enable = true;
      listen = "0.0.0.0:7717";
      advertise = true;
      openFirewall = true;
    };
  };
  hydramesh = {
    imports = [ key ];
    services.daiic.hydramesh = {
      enable = true;
      listen = "0.0.0.0:7717";
      repl = true;
      advertise = true;
      openFirewall = true;
    };
  };
  gateway = {
    imports = [ key ];
    services.daiic.gateway = {
      enable = true;
      inherit heads;
      listen = "0.0.0.0:7700";
      apiKeysFile = "/var/lib/secrets/daiic-api-keys";
      openFirewall = true;
    };
  };
  shim = {
    imports = [ key ];
    services.daiic.shim = {
      enable = true;
      inherit heads;
      listen = "0.0.0.0:7737";
      clientKeyFile = "/var/lib/secrets/daiic-client-key";
      openFirewall = true;
    };
  };
  all-roles = {
    services.daiic.head.enable = true;
    services.daiic.worker.enable = true;
    services.daiic.gateway.enable = true;
    services.daiic.shim.enable = true;
    services.daiic.hydramesh = {
      enable = true;
      listen = "127.0.0.1:7747";
      httpListen = "127.0.0.1:7748";
    };
  };

  worker-cpu = worker "cpu" { };
  worker-cuda = worker "cuda" nvidia;
  worker-rocm = worker "rocm" amd;
  worker-auto-cpu = worker "auto" { };
  worker-auto-nvidia = worker "auto" nvidia;
  worker-auto-amd = worker "auto" amd;
}
