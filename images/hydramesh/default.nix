# HydraMesh's images, alh477/hydramesh with the tags runtime, runtime-dev and runtime-usb4: what Containerfile makes of
# Debian. All keep their state in the volume /state.
{ pkgs, image }:
let
  inherit (pkgs) hydramesh lib;

  # What is in an image, as an SPDX document.
  sbom =
    contents:
    pkgs.runCommand "hydramesh-sbom" { nativeBuildInputs = [ pkgs.python3 ]; } ''
      mkdir -p $out/share/sbom
      {
        cat ${pkgs.closureInfo { rootPaths = contents; }}/store-paths
        # What SBCL has put into the program, and what libdcf is linked with, is in it too.
        printf '%s\n' ${toString hydramesh.bundled}
        sed 's/^/cargo /' ${lib.getLib pkgs.dcf}/share/dcf/crates
      } | python3 ${../sbom.py} hydramesh ${hydramesh.version} > $out/share/sbom/hydramesh.spdx.json
    '';

  tagged =
    {
      tag,
      contents ? [ ],
      environment ? [ ],
      extraCommands ? "",
    }:
    image {
      name = "hydramesh";
      inherit tag extraCommands;
      package = hydramesh;
      command = "hydramesh";
      port = 7717;
      httpPort = 7718;
      volumes = [ "state" ];
      health = [
        (lib.getExe' hydramesh "hydramesh")
        "health"
      ];
      contents = contents ++ [ (sbom ([ hydramesh ] ++ contents)) ];
      environment = [ "DAIIC_STATE_DIR=/state" ] ++ environment;
    };

  # The schema as protoc describes it, without protoc.
  descriptors =
    pkgs.runCommand "hydramesh-descriptors" { nativeBuildInputs = [ pkgs.protobuf ]; }
      ''
        protoc --proto_path=${../../src/proto} --descriptor_set_out=$out daiic.proto
      '';

  repl = pkgs.writeShellScriptBin "repl" ''
    exec ${lib.getExe pkgs.rlwrap} ${lib.getExe' hydramesh "hydramesh"} repl "$@"
  '';
in
{
  hydramesh-runtime = tagged { tag = "runtime"; };

  # For work on it: `repl` looks into the head that runs, and build.sh compiles, tests and opens the sources.
  hydramesh-runtime-dev = tagged {
    tag = "runtime-dev";
    contents = [
      pkgs.bashInteractive
      pkgs.coreutils
      pkgs.gnused
      pkgs.rlwrap
      pkgs.sbcl
      repl
    ];
    extraCommands = ''
      mkdir --parents usr/src
      ln --symbolic ${hydramesh.src} usr/src/daiic
    '';
    environment = [
      "DAIIC_REPL_SOCKET=/state/repl"
      "HYDRAMESH_BUILD=/state/build"
      "HYDRAMESH_DESCRIPTORS=${descriptors}"
    ]
    ++ lib.mapAttrsToList (name: value: "${name}=${value}") hydramesh.environment;
  };

  # Peers over a Thunderbolt or USB4 cable; the network must be the machine's own.
  hydramesh-runtime-usb4 = tagged {
    tag = "runtime-usb4";
    environment = [ "HYDRAMESH_USB4_ENABLED=true" ];
  };
}
