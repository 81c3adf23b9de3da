# The machines that the evaluation tests look at, by what they are an example of.
let
  key = {
    services.daiic.clusterKeyFile = "/run/secrets/cluster-key";
  };
  nvidia = {
    hardware.nvidia.enabled = true;
  };
  amd = {
    boot.kernelModules = [ "amdgpu" ];
  };
  unfree =
    { lib, ... }:
    {
      _module.args.pkgs = import ./packages.nix { inherit lib; } // {
        config.allowUnfree = true;
      };
    };
in
{
  one-line-worker.services.daiic.worker.enable = true;

  nothing-enabled = { };

  all-roles.services.daiic = {
    head.enable = true;
    hydramesh = {
      enable = true;
      listen = "127.0.0.1:7747";
      httpListen = "127.0.0.1:7748";
    };
    worker.enable = true;
    gateway.enable = true;
    shim.enable = true;
    programs = {
      enable = true;
      files = [ ../../src/hydramesh/examples/greenhouse.lisp ];
    };
  };

  # HydraMesh is the head that the others use, if there is no other.
  hydramesh-alone.services.daiic = {
    hydramesh.enable = true;
    worker.enable = true;
    gateway.enable = true;
    shim.enable = true;
  };

  # Every option once, on a machine whose roles are open to the network.
  every-option = {
    imports = [ amd ];
    services.daiic = {
      clusterKeyFile = "/run/secrets/cluster-key";
      head = {
        enable = true;
        listen = "0.0.0.0:9717";
        httpListen = "127.0.0.1:9718";
        workerTimeout = 7.5;
        queueSize = 99;
        advertise = true;
        openFirewall = true;
        clusterKeyFile = "/run/secrets/heads-own-key";
        allowUnauthenticated = false;
        settings.log_level = "debug";
      };
      hydramesh = {
        enable = true;
        listen = "0.0.0.0:9747";
        httpListen = "127.0.0.1:9748";
        workerTimeout = 12.5;
        queueSize = 77;
        storage = "streamdb";
        hedgeShare = 0.05;
        usb4.enable = true;
        peers = [ "10.0.0.5:7717" ];
        policy = ../../src/hydramesh/policies/office.policy;
        repl = true;
        advertise = true;
        openFirewall = true;
        clusterKeyFile = "/run/secrets/hydrameshs-own-key";
        allowUnauthenticated = false;
        settings.log_level = "debug";
      };
      programs = {
        enable = true;
        files = [
          ../../src/hydramesh/examples/greenhouse.lisp
          ../../src/hydramesh/examples/room.lisp
        ];
        listen = "0.0.0.0:9720";
        peers = [ "10.0.0.6:7720" ];
        heads = [ "10.0.0.1:7717" ];
        openFirewall = true;
        clusterKeyFile = "/run/secrets/programs-own-key";
        allowUnauthenticated = false;
        settings.log_level = "debug";
      };
      worker = {
        enable = true;
        backend = "rocm";
        gpus = [ "0000:41:00.0" ];
        heads = [
          "10.0.0.1:7717"
          "[fd00::2]:7717"
        ];
        listen = "0.0.0.0:9727";
        httpListen = "";
        models = [ "org/model" ];
        modelsDir = "/srv/models";
        vllm.enable = true;
        quantization = "8bit";
        ramOffload = false;
        memoryMax = "48G";
        usb4.enable = true;
        shard = {
          enable = true;
          listen = "0.0.0.0:9729";
          openFirewall = true;
          interface = "wg0";
        };
        hfTokenFile = "/run/secrets/hf-token";
        rocmOverrideGfx = "10.3.0";
        openFirewall = true;
        clusterKeyFile = "/run/secrets/workers-own-key";
        allowUnauthenticated = false;
        settings.slots = 8;
      };
      gateway = {
        enable = true;
        listen = "0.0.0.0:9700";
        httpListen = "127.0.0.1:9701";
        heads = [ "10.0.0.1:7717" ];
        apiKeysFile = "/run/secrets/api-keys";
        oidcClientSecretFile = "/run/secrets/oidc";
        corsOrigins = [ "https://chat.example.org" ];
        openFirewall = true;
        clusterKeyFile = "/run/secrets/gateways-own-key";
        allowUnauthenticated = false;
        settings = {
          log_level = "warning";
          public_url = "https://ai.example.org";
          oidc_issuer = "https://login.example.org";
          oidc_client_id = "daiic";
          oidc_allowed_emails = [ "@example.org" ];
        };
      };
      shim = {
        enable = true;
        listen = "0.0.0.0:9737";
        httpListen = "127.0.0.1:9738";
        heads = [ "10.0.0.1:7717" ];
        clientKeyFile = "/run/secrets/client-key";
        allowedNetworks = [ "192.168.0.0/16" ];
        openFirewall = true;
        clusterKeyFile = "/run/secrets/shims-own-key";
        allowUnauthenticated = false;
        settings.log_level = "warning";
      };
    };
  };

  packages-named =
    { pkgs, ... }:
    {
      services.daiic = {
        head.enable = true;
        head.package = pkgs.pkgsRocm.daiic-worker;
        hydramesh.enable = true;
        hydramesh.package = pkgs.pkgsRocm.daiic-worker;
        hydramesh.streamdbPackage = pkgs.dcf-shim;
        programs.enable = true;
        programs.package = pkgs.pkgsRocm.daiic-worker;
        programs.files = [ ../../src/hydramesh/examples/greenhouse.lisp ];
        hydramesh.listen = "127.0.0.1:7747";
        hydramesh.httpListen = "127.0.0.1:7748";
        worker.enable = true;
        worker.package = pkgs.pkgsRocm.daiic-worker;
        worker.vllm.package = pkgs.pkgsRocm.vllm;
        worker.usb4.package = pkgs.dcf-shim;
        worker.llamaCppPackage = pkgs.llama-cpp.override { vulkanSupport = true; };
        gateway.enable = true;
        gateway.package = pkgs.pkgsRocm.daiic-worker;
        shim.enable = true;
        shim.package = pkgs.pkgsRocm.daiic-worker;
      };
    };

  # What `auto` and each backend come to on each kind of machine.
  auto-nvidia = {
    imports = [ nvidia ];
    services.daiic.worker.enable = true;
  };
  auto-amd = {
    imports = [ amd ];
    services.daiic.worker.enable = true;
  };
  cuda = {
    imports = [
      nvidia
      unfree
    ];
    services.daiic.worker.enable = true;
    services.daiic.worker.backend = "cuda";
  };
  cpu-on-nvidia = {
    imports = [ nvidia ];
    services.daiic.worker.enable = true;
    services.daiic.worker.backend = "cpu";
  };

  vulkan.services.daiic.worker = {
    enable = true;
    backend = "vulkan";
  };
  vulkan-on-nvidia = {
    imports = [ nvidia ];
    services.daiic.worker.enable = true;
    services.daiic.worker.backend = "vulkan";
  };

  remote-heads = {
    imports = [ key ];
    services.daiic.worker.enable = true;
    services.daiic.worker.heads = [ "10.0.0.1:7717" ];
  };
  head-on-every-address = {
    imports = [ key ];
    services.daiic.head.listen = "[::]:7717";
    services.daiic.worker.enable = true;
  };
  token-in-the-store.services.daiic.worker = {
    enable = true;
    hfToken = "hf_example";
  };
  settings-win.services.daiic.worker = {
    enable = true;
    quantization = "8bit";
    settings.quantization = "none";
  };
  slow-drain.services.daiic.head = {
    enable = true;
    settings.drain_timeout = 119.5;
  };

  policy-as-text.services.daiic.hydramesh = {
    enable = true;
    policy = ''
      (policy "house" (rule "near" (prefer (= worker.group 0))))
    '';
  };

  # One mistake each; the tests say what the message has to advise.
  mistake-head-open-without-key.services.daiic.head = {
    enable = true;
    listen = "0.0.0.0:7717";
  };
  mistake-hydramesh-open-without-key.services.daiic.hydramesh = {
    enable = true;
    listen = "0.0.0.0:7717";
  };
  mistake-cable-without-key.services.daiic.hydramesh = {
    enable = true;
    usb4.enable = true;
  };
  mistake-policy-in-quotation-marks.services.daiic.hydramesh = {
    enable = true;
    policy = "./office.policy";
  };
  mistake-policy-outside-the-store.services.daiic.hydramesh = {
    enable = true;
    policy = "/etc/nixos/office.policy";
  };
  mistake-worker-open-without-key.services.daiic.worker = {
    enable = true;
    heads = [ "10.0.0.1:7717" ];
  };
  mistake-programs-open-without-key.services.daiic.programs = {
    enable = true;
    files = [ ../../src/hydramesh/examples/greenhouse.lisp ];
    listen = "0.0.0.0:7720";
  };
  mistake-no-programs.services.daiic.programs.enable = true;
  mistake-programs-with-peers-and-no-port.services.daiic.programs = {
    enable = true;
    files = [ ../../src/hydramesh/examples/greenhouse-bed.lisp ];
    peers = [ "127.0.0.1:7720" ];
  };
  mistake-gateway-heads-without-key.services.daiic.gateway = {
    enable = true;
    heads = [ "10.0.0.1:7717" ];
  };
  mistake-shim-heads-without-key.services.daiic.shim = {
    enable = true;
    heads = [ "10.0.0.1:7717" ];
  };
  mistake-open-on-purpose.services.daiic.head = {
    enable = true;
    listen = "0.0.0.0:7717";
    allowUnauthenticated = true;
  };
  mistake-gateway-without-head.services.daiic.gateway.enable = true;
  mistake-shim-without-head.services.daiic.shim.enable = true;
  mistake-gateway-public-without-api-keys.services.daiic = {
    head.enable = true;
    gateway.enable = true;
    gateway.listen = "0.0.0.0:7700";
  };
  mistake-shim-public-without-client-key.services.daiic = {
    head.enable = true;
    shim.enable = true;
    shim.listen = "0.0.0.0:7737";
  };
  mistake-advertised-loopback.services.daiic.head = {
    enable = true;
    advertise = true;
  };
  mistake-both-tokens.services.daiic.worker = {
    enable = true;
    hfToken = "hf_example";
    hfTokenFile = "/run/secrets/hf-token";
  };
  mistake-worker-listens-on-loopback-only = {
    imports = [ key ];
    services.daiic.worker = {
      enable = true;
      heads = [ "10.0.0.1:7717" ];
      listen = "127.0.0.1:7727";
    };
  };
  mistake-cuda-without-driver = {
    imports = [ unfree ];
    services.daiic.worker.enable = true;
    services.daiic.worker.backend = "cuda";
  };
  mistake-cuda-without-unfree = {
    imports = [ nvidia ];
    services.daiic.worker.enable = true;
    services.daiic.worker.backend = "cuda";
  };
  mistake-rocm-without-driver.services.daiic.worker = {
    enable = true;
    backend = "rocm";
  };
  mistake-models-in-home.services.daiic.worker = {
    enable = true;
    modelsDir = "/home/alice/models";
  };
  mistake-two-roles-on-one-port.services.daiic = {
    worker.enable = true;
    worker.listen = "127.0.0.1:7717";
  };
  mistake-two-heads-on-one-port.services.daiic = {
    head.enable = true;
    hydramesh.enable = true;
    hydramesh.httpListen = "127.0.0.1:7748";
  };
  mistake-two-roles-on-one-http-port.services.daiic = {
    worker.enable = true;
    gateway.enable = true;
    gateway.listen = "127.0.0.1:7728";
  };
}
