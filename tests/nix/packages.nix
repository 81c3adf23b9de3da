# Stand-ins for the packages that the modules refer to, at the paths where a system without Nix has them:
# programs in /opt/daiic, settings in /etc/daiic.
{ lib }:
let
  package = name: outPath: {
    type = "derivation";
    inherit name outPath;
  };

  daiic = {
    daiic = package "daiic" "/opt/daiic";
    daiic-worker = package "daiic-worker" "/opt/daiic";
    daiic-worker-vulkan = package "daiic-worker-vulkan" "/opt/daiic-vulkan";
    dcf = package "dcf" "/opt/daiic";
    dcf-shim = package "dcf-shim" "/opt/daiic";
    hydramesh = package "hydramesh" "/opt/daiic";
    streamdb = package "streamdb" "/usr";
  };
in
daiic
// {
  config.allowUnfree = false;

  pkgsCuda.daiic-worker = package "daiic-worker-cuda" "/opt/daiic-cuda";
  pkgsRocm.daiic-worker = package "daiic-worker-rocm" "/opt/daiic-rocm";

  vllm = package "vllm" "/opt/vllm";
  pkgsCuda.vllm = package "vllm-cuda" "/opt/vllm-cuda";
  pkgsRocm.vllm = package "vllm-rocm" "/opt/vllm-rocm";

  llama-cpp.override = _: package "llama-cpp" "/opt/llama-cpp";

  coreutils = package "coreutils" "/usr";
  iproute2 = package "iproute2" "/usr";

  # What the command is given and does is kept, for tests to read.
  runCommand =
    name: environment: command:
    package name "/nix/store/11111111111111111111111111111111-${name}"
    // {
      inherit environment command;
    };

  writeText = name: _text: "/nix/store/00000000000000000000000000000000-${name}";

  formats.toml = _: {
    type =
      let
        value =
          lib.types.oneOf [
            lib.types.bool
            lib.types.int
            lib.types.float
            lib.types.str
            lib.types.path
            (lib.types.attrsOf value)
            (lib.types.listOf value)
          ]
          // {
            description = "TOML value";
          };
      in
      value;
    generate = name: _value: "/etc/daiic/${name}";
  };
}
