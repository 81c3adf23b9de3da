# The container images alh477/mesh-* and alh477/hydramesh, as scripts that stream them:
# `nix build .#mesh-head && ./result | podman load`.
#
# All run as UID 10001, with a read-only root and without capabilities. A role writes to its volumes, as /models and
# /cache, or to a tmpfs at /tmp. Settings come from the environment as DAIIC_<KEY>. mesh-head contains the gateway too:
# its programs are in /bin.
{ pkgs }:
let
  inherit (pkgs) lib;

  seconds = s: s * 1000000000;

  image =
    {
      name,
      package,
      tag ? package.version,
      command,
      port,
      httpPort,
      # Folders in which it may write; the last is its home.
      volumes,
      # What says by its status whether it is well.
      health,
      environment ? [ ],
      contents ? [ ],
      extraCommands ? "",
    }:
    pkgs.dockerTools.streamLayeredImage {
      name = "alh477/${name}";
      inherit tag;

      contents = [
        (pkgs.fakeNss.override {
          extraPasswdLines = [ "daiic:x:10001:10001:DAIIC:/${lib.last volumes}:/sbin/nologin" ];
          extraGroupLines = [ "daiic:x:10001:" ];
        })
      ]
      ++ contents;
      extraCommands = ''
        mkdir --mode=1777 tmp
        mkdir --parents bin
        ln --symbolic ${package}/bin/* bin/
      ''
      + extraCommands;
      fakeRootCommands = ''
        mkdir --parents ${toString volumes}
        chown 10001:10001 ${toString volumes}
      '';

      config = {
        User = "10001:10001";
        Entrypoint = [ (lib.getExe' package command) ];
        Env = [
          "HOME=/${lib.last volumes}"
          "DAIIC_LISTEN=0.0.0.0:${toString port}"
          "DAIIC_HTTP_LISTEN=0.0.0.0:${toString httpPort}"
        ]
        ++ environment;
        ExposedPorts = {
          "${toString port}/udp" = { };
          "${toString httpPort}/tcp" = { };
        };
        Volumes = lib.genAttrs (map (folder: "/${folder}") volumes) (_: { });
        Healthcheck = {
          Test = [ "CMD" ] ++ health;
          Interval = seconds 30;
          Timeout = seconds 5;
          # A first start may download and load a model.
          StartPeriod = seconds 300;
          Retries = 3;
        };
        StopSignal = "SIGTERM";
        Labels = {
          "org.opencontainers.image.title" = name;
          "org.opencontainers.image.description" = package.meta.description;
          "org.opencontainers.image.version" = package.version;
          "org.opencontainers.image.licenses" = "BSD-3-Clause";
        };
      };
    };

  mesh =
    {
      role,
      environment ? [ ],
      ...
    }@arguments:
    image (
      removeAttrs arguments [ "role" ]
      // {
        name = "mesh-${role}";
        volumes = [
          "models"
          "cache"
        ];
        health = [
          (lib.getExe pkgs.curlMinimal)
          "--fail"
          "--silent"
          "--output"
          "/dev/null"
          "http://127.0.0.1:${toString arguments.httpPort}/healthz"
        ];
        contents = [ pkgs.dockerTools.caCertificates ];
        environment = [ "SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt" ] ++ environment;
      }
    );

  worker =
    vendor: package: backend: environment:
    mesh {
      role = "worker-${vendor}";
      inherit package;
      command = "daiic-worker";
      port = 7727;
      httpPort = 7728;
      environment = [
        "DAIIC_BACKEND=${backend}"
        "DAIIC_HEADS=head:7717"
        "DAIIC_MODELS_DIR=/models"
        "DAIIC_CACHE_DIR=/cache"
        "DAIIC_STATE_DIR=/cache/daiic"
      ]
      ++ environment;
    };
in
{
  mesh-head = mesh {
    role = "head";
    package = pkgs.daiic;
    command = "daiic-head";
    port = 7717;
    httpPort = 7718;
  };

  mesh-shim = mesh {
    role = "shim";
    package = pkgs.dcf-shim;
    command = "dcf-shim";
    port = 7737;
    httpPort = 7738;
    environment = [ "DAIIC_HEADS=head:7717" ];
  };

  mesh-worker-cpu = worker "cpu" pkgs.daiic-worker "cpu" [ ];

  # The container runtime brings the driver's libraries; these two variables are its NVIDIA hook's contract.
  mesh-worker-nvidia = worker "nvidia" pkgs.pkgsCuda.daiic-worker "cuda" [
    "NVIDIA_VISIBLE_DEVICES=all"
    "NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    "LD_LIBRARY_PATH=/usr/lib64:/usr/lib/x86_64-linux-gnu"
  ];

  mesh-worker-rocm = worker "rocm" pkgs.pkgsRocm.daiic-worker "rocm" [ ];
}
// import ./hydramesh { inherit pkgs image; }
