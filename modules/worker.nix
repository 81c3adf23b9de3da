# services.daiic.worker: runs language models and Stable Diffusion on this machine's GPU or CPU.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  role = import ./role.nix { inherit config lib pkgs; } "worker";
  cfg = config.services.daiic.worker;

  nvidiaDriver = config.hardware.nvidia.enabled;
  amdgpuDriver = builtins.elem "amdgpu" (config.boot.kernelModules ++ config.boot.initrd.kernelModules);

  # The hardware that the unit is built for. At run time, `auto` may find less than this, never more.
  accelerator =
    if cfg.backend != "auto" then
      cfg.backend
    else if nvidiaDriver then
      "cuda"
    else if amdgpuDriver then
      "rocm"
    else
      "cpu";

  packages = {
    cuda = pkgs.pkgsCuda.daiic-worker;
    rocm = pkgs.pkgsRocm.daiic-worker;
    vulkan = pkgs.daiic-worker-vulkan;
    cpu = pkgs.daiic-worker;
  };

  vllmPackages = {
    cuda = pkgs.pkgsCuda.vllm;
    rocm = pkgs.pkgsRocm.vllm;
    vulkan = pkgs.vllm;
    cpu = pkgs.vllm;
  };

  # Device classes as the drivers name them in /proc/devices; systemd skips names that a driver does not have.
  devices = rec {
    cuda = [
      "char-nvidia"
      "char-nvidia-caps"
      "char-nvidia-frontend"
      "char-nvidia-uvm"
      "char-nvidiactl"
    ];
    rocm = [
      "char-drm"
      "char-kfd"
    ];
    # Any vendor's; NVIDIA's driver has devices of its own.
    vulkan = [ "char-drm" ] ++ lib.optionals nvidiaDriver cuda;
    cpu = [ ];
  };

  # Tokens given as text end up in the world-readable store; the unit gets both kinds the same way.
  hfTokenFile =
    if cfg.hfToken != null then pkgs.writeText "hf-token" cfg.hfToken else cfg.hfTokenFile;
in
{
  imports = [
    ./machine.nix
    ./thunderbolt.nix
    ./head.nix
  ];

  options.services.daiic.worker = role.options // {
    enable = lib.mkEnableOption "DAIIC's worker, which runs models on this machine";
    package = mkOption {
      type = types.package;
      default = packages.${accelerator};
      defaultText = lib.literalMD ''
        `pkgs.pkgsCuda.daiic-worker`, `pkgs.pkgsRocm.daiic-worker`, `pkgs.daiic-worker-vulkan` or `pkgs.daiic-worker`, according to
        {option}`services.daiic.worker.backend`; with `auto`, according to the GPU driver that this system loads.
      '';
      description = "The worker's package, with torch built for the machine's GPU.";
    };

    llamaCppPackage = lib.mkPackageOption pkgs "llama-cpp" {
      nullable = true;
      default = null;
      example = "llama-cpp.override { vulkanSupport = true; }";
      extraDescription = ''
        It runs GGUF models. `null` takes the one in {option}`services.daiic.worker.package`, which is built for the
        machine's GPU and whose `rpc-server` lends memory to other machines in either case.
      '';
    };

    backend = mkOption {
      type = types.enum [
        "auto"
        "cuda"
        "rocm"
        "vulkan"
        "cpu"
      ];
      default = "auto";
      description = ''
        What models run on: `cuda` (NVIDIA), `rocm` (AMD), `vulkan` (cards of any vendor, for GGUF models only; others
        run on the CPU), `cpu`, or `auto`: NVIDIA if this system loads its driver, otherwise AMD if it loads that one,
        otherwise the CPU. The unit has access to the devices of that vendor only.
      '';
    };

    gpus = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "0"
        "0000:41:00.0"
        "GPU-3d5a1f1c-0b2e-4f43-9d43-6a1f6e4f8a10"
      ];
      description = ''
        Graphics cards that the worker uses: numbers as `nvidia-smi` or `rocm-smi` give them, PCI addresses, or UUIDs.
        Empty for all cards of {option}`services.daiic.worker.backend`.
      '';
    };

    heads = role.headsOption // {
      description = ''
        Heads of the cluster that this worker serves; it reports to all of them. `null` makes this machine
        a complete node by itself: `services.daiic.head` on loopback is enabled along with the worker, unless
        {option}`services.daiic.hydramesh.enable` is set.
      '';
    };

    listen = role.listenOption "127.0.0.1:7727" {
      default =
        if builtins.all role.addresses.isLoopback role.heads then "127.0.0.1:7727" else "0.0.0.0:7727";
      defaultText = lib.literalMD "`127.0.0.1:7727`, or `0.0.0.0:7727` if a head is on another machine";
    };

    httpListen = role.httpListenOption "127.0.0.1:7728";

    models = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "Qwen/Qwen3-8B"
        "stabilityai/stable-diffusion-xl-base-1.0"
        "my-finetune.safetensors"
      ];
      description = ''
        Models to load when the worker starts: Hugging Face ids, or file names in
        {option}`services.daiic.worker.modelsDir`. Other models are loaded when a task asks for them.
      '';
    };

    modelsDir = mkOption {
      type = types.path;
      default = "/var/lib/daiic-worker/models";
      example = "/srv/models";
      description = "Directory of models (`.safetensors` files and model directories) that tasks refer to by file name.";
    };

    vllm = {
      enable = lib.mkEnableOption "vLLM as the engine of language models in safetensors, in place of transformers";
      package = mkOption {
        type = types.package;
        default = vllmPackages.${accelerator};
        defaultText = lib.literalMD ''
          `pkgs.pkgsCuda.vllm`, `pkgs.pkgsRocm.vllm` or `pkgs.vllm`, as for {option}`services.daiic.worker.package`
        '';
        description = "vLLM's package, version 0.19 or later. It is used only if {option}`services.daiic.worker.vllm.enable` is set.";
      };
    };

    quantization = mkOption {
      type = types.enum [
        "auto"
        "none"
        "8bit"
        "4bit"
      ];
      default = "auto";
      description = ''
        How weights are quantized when a model is loaded (by bitsandbytes; `4bit` is NF4). `auto` takes the most exact
        that fits into memory: none, else `8bit`, else `4bit`.
      '';
    };

    ramOffload = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to keep in RAM the weights that do not fit into GPU memory.";
    };

    shard = {
      enable = lib.mkEnableOption "lending this machine's memory to models that no machine can hold alone";
      listen = mkOption {
        type = types.str;
        default = "127.0.0.1:7729";
        example = "0.0.0.0:7729";
        description = "TCP address where memory is lent, by TLS keyed from the cluster key.";
      };
      openFirewall = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether to open the port of {option}`services.daiic.worker.shard.listen` in the firewall, and on
          {option}`services.daiic.worker.shard.interface` alone all ports that programs are given for the asking, which
          torch uses.
        '';
      };
      interface = mkOption {
        type = types.nullOr (types.strMatching "[^[:space:]/:]{1,15}");
        default = null;
        example = "wg0";
        description = ''
          Network interface over which models are computed together with like machines (tensor parallelism). What
          they send each other is neither encrypted nor authenticated by torch, so the interface must be one that is
          protected, such as WireGuard's.
        '';
      };
    };

    usb4 = {
      enable = lib.mkEnableOption ''
        reaching HydraMesh heads over Thunderbolt and USB4 cables, beside the network and in preference to it; see
        {option}`services.daiic.hydramesh.usb4.enable`'';
      package = lib.mkPackageOption pkgs "dcf" {
        extraDescription = "Its library does that. It is used only if {option}`services.daiic.worker.usb4.enable` is set.";
      };
    };

    memoryMax = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "48G";
      description = "Maximum RAM that the worker may use ({manpage}`systemd.resource-control(5)`, `MemoryMax=`).";
    };

    hfToken = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''
        Hugging Face token for gated models. It ends up in the Nix store, where every user of the machine
        can read it; use {option}`services.daiic.worker.hfTokenFile` to keep it secret.
      '';
    };

    hfTokenFile = mkOption {
      type = types.nullOr types.externalPath;
      default = null;
      example = "/run/secrets/hf-token";
      description = ''
        File with the Hugging Face token for gated models. Only the worker's process can read it
        ({manpage}`systemd.exec(5)`, `LoadCredential=`).
      '';
    };

    rocmOverrideGfx = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "10.3.0";
      description = ''
        GPU version that ROCm should assume (`HSA_OVERRIDE_GFX_VERSION`), for cards that are not supported but
        similar enough to one that is.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    services.daiic.head.enable = lib.mkIf (
      cfg.heads == null && !(config.services.daiic.hydramesh.enable or false)
    ) (lib.mkDefault true);

    services.daiic.worker.settings = lib.mapAttrs (_: lib.mkDefault) {
      inherit (cfg)
        listen
        backend
        gpus
        models
        quantization
        ;
      inherit (role) heads;
      http_listen = cfg.httpListen;
      allow_unauthenticated = cfg.allowUnauthenticated;
      state_dir = "/var/lib/daiic-worker";
      cache_dir = "/var/cache/daiic-worker";
      models_dir = cfg.modelsDir;
      ram_offload = cfg.ramOffload;
      cluster_key_file = lib.optionalString (cfg.clusterKeyFile != null) (role.credential "cluster-key");
      hf_token_file = lib.optionalString (hfTokenFile != null) (role.credential "hf-token");
    }
    // lib.optionalAttrs cfg.vllm.enable { engine = lib.mkDefault "vllm"; }
    // lib.optionalAttrs (cfg.llamaCppPackage != null) {
      llama_server = lib.mkDefault (lib.getExe' cfg.llamaCppPackage "llama-server");
    }
    // lib.optionalAttrs cfg.shard.enable (
      lib.mapAttrs (_: lib.mkDefault) {
        shard = true;
        shard_listen = cfg.shard.listen;
      }
    )
    // lib.optionalAttrs (cfg.shard.interface != null) {
      shard_interface = lib.mkDefault cfg.shard.interface;
    }
    // lib.optionalAttrs cfg.usb4.enable { usb4_enabled = lib.mkDefault true; };

    warnings = lib.optional (cfg.hfToken != null) (
      "services.daiic.worker.hfToken is written to the Nix store, where every user of this machine can read it. "
      + "Put the token into a file that only root can read and set services.daiic.worker.hfTokenFile to its path."
    );

    assertions = [
      role.keyAssertion
      {
        assertion =
          cfg.shard.enable && cfg.clusterKeyFile == null
          -> role.addresses.isLoopback cfg.settings.shard_listen;
        message =
          "services.daiic.worker.shard.listen = \"${cfg.settings.shard_listen or cfg.shard.listen}\" is reached from other machines, which "
          + "takes a cluster key. Set services.daiic.worker.clusterKeyFile, or listen on 127.0.0.1.";
      }
      {
        assertion =
          cfg.shard.interface != null && cfg.shard.interface != "lo" -> cfg.clusterKeyFile != null;
        message =
          "services.daiic.worker.shard.interface = \"${toString cfg.shard.interface}\" is reached from other machines, which "
          + "takes a cluster key. Set services.daiic.worker.clusterKeyFile.";
      }
      {
        assertion = cfg.hfToken == null || cfg.hfTokenFile == null;
        message =
          "services.daiic.worker has both hfToken and hfTokenFile. Remove hfToken; hfTokenFile keeps the "
          + "token out of the Nix store.";
      }
      {
        assertion =
          builtins.any (head: !role.addresses.isLoopback head) cfg.settings.heads
          -> !role.addresses.isLoopback cfg.settings.listen;
        message =
          "services.daiic.worker.listen = \"${cfg.settings.listen}\" cannot reach the heads on other machines "
          + "(${toString cfg.settings.heads}). Set it to \"0.0.0.0:${toString (role.addresses.port cfg.settings.listen)}\".";
      }
      {
        assertion = cfg.backend == "cuda" -> nvidiaDriver;
        message =
          "services.daiic.worker.backend = \"cuda\" needs NVIDIA's driver, which this system does not load. Set "
          + "services.xserver.videoDrivers = [ \"nvidia\" ] and hardware.nvidia.open = true (false for cards before "
          + "Turing), or choose another backend.";
      }
      {
        assertion =
          cfg.backend == "cuda" -> pkgs.config.allowUnfree or false || pkgs.config ? allowUnfreePredicate;
        message =
          "services.daiic.worker.backend = \"cuda\" needs CUDA, whose licence is not free. Set "
          + "nixpkgs.config.allowUnfree = true.";
      }
      {
        assertion = cfg.backend == "rocm" -> amdgpuDriver;
        message =
          "services.daiic.worker.backend = \"rocm\" needs the amdgpu kernel driver, which this system does not "
          + "load. Set boot.kernelModules = [ \"amdgpu\" ], or choose another backend.";
      }
      {
        assertion =
          !builtins.any (hidden: lib.hasPrefix hidden "${toString cfg.settings.models_dir}/") [
            "/home/"
            "/root/"
            "/run/user/"
            "/tmp/"
            "/var/tmp/"
          ];
        message =
          "services.daiic.worker.modelsDir = \"${toString cfg.settings.models_dir}\" is hidden from the unit by its sandbox "
          + "(ProtectHome, PrivateTmp). Move the models, for example to /srv/models.";
      }
    ];

    systemd.services.${role.unit} = lib.mkMerge [
      (role.service {
        description = "DAIIC worker";
        executable = "daiic-worker";
        credentials = {
          cluster-key = cfg.clusterKeyFile;
          hf-token = hfTokenFile;
        };
        environment = {
          # Compilers and libraries that torch uses keep their caches here.
          HOME = "/var/lib/daiic-worker";
          XDG_CACHE_HOME = "/var/cache/daiic-worker";
        }
        // lib.optionalAttrs (cfg.rocmOverrideGfx != null) {
          HSA_OVERRIDE_GFX_VERSION = cfg.rocmOverrideGfx;
        }
        // lib.optionalAttrs cfg.usb4.enable {
          DAIIC_LIBDCF = "${lib.getLib cfg.usb4.package}/lib/libdcf.so";
        };
        serviceConfig = {
          StateDirectory = "daiic-worker daiic-worker/models";
          CacheDirectory = "daiic-worker";
          StateDirectoryMode = "0750";

          # Under memory pressure the kernel takes other processes first: reloading a model is expensive.
          OOMScoreAdjust = -500;
          # Loading a model extends these for as long as it makes progress.
          TimeoutStartSec = "15min";
          WatchdogSec = "1min";

          # PrivateDevices would hide accelerators. DevicePolicy=closed stays, with one vendor's devices allowed.
          PrivateDevices = accelerator == "cpu";
          DeviceAllow = devices.${accelerator};
          # torch, oneDNN and Triton generate machine code while they run.
          MemoryDenyWriteExecute = false;
          # The memory budget is measured from /proc/meminfo.
          ProcSubset = "all";
          # torch pins threads to cores and buffers to NUMA nodes.
          SystemCallFilter = [
            "@system-service"
            "~@privileged"
          ];
          # Buffers that the GPU reads from RAM have to be locked there.
          LimitMEMLOCK = "infinity";
        }
        // lib.optionalAttrs (accelerator == "rocm" || accelerator == "vulkan") {
          SupplementaryGroups = [
            "render"
            "video"
          ];
        }
        // lib.optionalAttrs (cfg.shard.interface != null) {
          # The interfaces and their addresses are asked for by netlink.
          RestrictAddressFamilies = [
            "AF_INET"
            "AF_INET6"
            "AF_NETLINK"
            "AF_UNIX"
          ];
        }
        // lib.optionalAttrs (cfg.memoryMax != null) { MemoryMax = cfg.memoryMax; };
      })
      (lib.mkIf cfg.vllm.enable {
        path = [ cfg.vllm.package ];
        # Its processes, and those of one model on several cards, look for the loopback interface.
        serviceConfig.RestrictAddressFamilies = [ "AF_NETLINK" ];
      })
      { after = map (head: "daiic-${head}.service") role.headsHere; }
    ];

    # Puts the driver's libraries into /run/opengl-driver.
    hardware.graphics.enable = lib.mkIf (accelerator != "cpu") (lib.mkDefault true);

    networking.firewall.allowedUDPPorts = lib.mkIf cfg.openFirewall [
      (role.addresses.port cfg.settings.listen)
    ];

    networking.firewall.allowedTCPPorts = lib.mkIf (cfg.shard.enable && cfg.shard.openFirewall) [
      (role.addresses.port cfg.settings.shard_listen)
    ];

    networking.firewall.interfaces = lib.mkIf (cfg.shard.interface != null && cfg.shard.openFirewall) {
      ${cfg.shard.interface}.allowedTCPPortRanges = [
        {
          from = 32768;
          to = 60999;
        }
      ];
    };

    environment.systemPackages = [ cfg.package ];
  };
}
