# The whole-machine tests by name, each with its machines. NixOS's test driver and the one in tests/systemd
# start the same machines and run the same script, NAME.py beside this file.
let
  # A worker of the tiny models that the project ships, in its package.
  worker =
    { pkgs, ... }:
    {
      services.daiic.worker = {
        enable = true;
        backend = "cpu";
        modelsDir = "${pkgs.daiic-worker}/share/daiic/local-models";
        settings.allow_downloads = false;
      };
      virtualisation.memorySize = 3072;
      virtualisation.cores = 2;
    };

  # A second head beside the one that a worker brings along, on ports of its own; the worker serves both.
  hydramesh.services.daiic.hydramesh = {
    enable = true;
    listen = "127.0.0.1:7747";
    httpListen = "127.0.0.1:7748";
    repl = true;
  };

  # A program that keeps what its sensors read.
  programs =
    { pkgs, ... }:
    {
      services.daiic.programs = {
        enable = true;
        files = [ "${pkgs.hydramesh}/share/hydramesh/examples/greenhouse.lisp" ];
        listen = "127.0.0.1:7720";
      };
    };

  # The scripts make keys when the machines run, and then start what waits for them.
  key.services.daiic.clusterKeyFile = "/var/lib/cluster-key";
in
{
  # Two workers serve through one head; one dies, comes back, and is cut off.
  cluster = {
    head = {
      imports = [ key ];
      services.daiic.head = {
        enable = true;
        listen = "0.0.0.0:7717";
        openFirewall = true;
        # As long as the driver waits: an emulated processor loads an image model for minutes.
        settings.task_deadline = 900;
      };
    };
    worker1 = {
      imports = [
        key
        worker
      ];
      services.daiic.worker.heads = [ "head:7717" ];
    };
    worker2 = {
      imports = [
        key
        worker
      ];
      services.daiic.worker.heads = [ "head:7717" ];
    };
  };

  # What each role may and may not touch while it runs.
  hardening.machine = {
    imports = [
      worker
      hydramesh
      programs
    ];
    services.daiic.head.enable = true;
    services.daiic.gateway.enable = true;
    services.daiic.shim.enable = true;
  };

  # What systemd is told, and what it does when it is told nothing any more.
  notify.machine = {
    imports = [
      worker
      hydramesh
    ];
    services.daiic.head.enable = true;
    services.daiic.worker.models = [ "daiic-tiny-chat" ];
  };

  # Keys and tokens reach the daemons, and nobody else.
  secrets.machine = {
    imports = [
      key
      worker
    ];
    services.daiic.worker.hfTokenFile = "/var/lib/hf-token";
    services.daiic.gateway.enable = true;
    services.daiic.gateway.apiKeysFile = "/var/lib/api-keys";
    services.daiic.worker.settings.log_level = "debug";
    services.daiic.head.settings.log_level = "debug";
  };
}
