# The part of NixOS that DAIIC's modules touch, with options typed as NixOS types them, so that the modules
# evaluate with nixpkgs' `lib` alone. Anything else that a module sets is an error here.
{ lib, ... }:
let
  inherit (lib) mkOption types;

  # A value of a unit's section: repeated definitions of lists are joined, others must agree.
  sectionValue = lib.mkOptionType {
    name = "systemd option";
    merge =
      location: definitions:
      if builtins.isList (builtins.head definitions).value then
        builtins.concatMap (definition: definition.value) definitions
      else
        lib.mergeEqualOption location definitions;
  };

  section = mkOption {
    type = types.attrsOf sectionValue;
    default = { };
  };

  listOfStrings = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };

  boolean = mkOption {
    type = types.bool;
    default = false;
  };

  service.options = {
    description = mkOption {
      type = types.singleLineStr;
      default = "";
    };
    wantedBy = listOfStrings;
    wants = listOfStrings;
    after = listOfStrings;
    before = listOfStrings;
    startLimitIntervalSec = mkOption { type = types.int; };
    path = mkOption {
      type = types.listOf (types.either types.package types.str);
      default = [ ];
    };
    environment = mkOption {
      type = types.attrsOf (
        types.nullOr (
          types.oneOf [
            types.str
            types.path
            types.package
          ]
        )
      );
      default = { };
    };
    unitConfig = section;
    serviceConfig = section;
    reloadTriggers = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
  };

  path.options = {
    description = service.options.description;
    partOf = listOfStrings;
    before = listOfStrings;
    pathConfig = section;
  };

  ports = mkOption {
    type = types.listOf types.port;
    default = [ ];
    apply = ports: lib.naturalSort (map toString (lib.unique ports));
  };
  networkUnits = mkOption {
    type = types.attrsOf (
      types.submodule {
        options = {
          matchConfig = section;
          networkConfig = section;
          linkConfig = section;
        };
      }
    );
    default = { };
  };
in
{
  options = {
    assertions = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
    };
    warnings = listOfStrings;

    systemd.services = mkOption {
      type = types.attrsOf (types.submodule service);
      default = { };
    };

    systemd.paths = mkOption {
      type = types.attrsOf (types.submodule path);
      default = { };
    };

    networking.firewall = {
      allowedTCPPorts = ports;
      allowedUDPPorts = ports;
      interfaces = mkOption {
        type = types.attrsOf (
          types.submodule {
            options.allowedTCPPortRanges = mkOption {
              type = types.listOf (types.attrsOf types.port);
              default = [ ];
            };
            options.allowedUDPPorts = ports;
          }
        );
        default = { };
      };
    };

    networking.networkmanager.unmanaged = listOfStrings;
    networking.dhcpcd.denyInterfaces = listOfStrings;
    systemd.network.links = networkUnits;
    systemd.network.networks = networkUnits;
    services.udev.extraRules = mkOption {
      type = types.lines;
      default = "";
    };
    services.hardware.bolt.enable = boolean;

    environment.etc = mkOption {
      type = types.attrsOf (types.submodule { options.source = mkOption { type = types.path; }; });
      default = { };
    };

    environment.systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };

    services.avahi = {
      enable = boolean;
      publish = {
        enable = boolean;
        userServices = boolean;
      };
      extraServiceFiles = mkOption {
        type = types.attrsOf (types.either types.str types.path);
        default = { };
      };
    };

    hardware.graphics.enable = boolean;
    hardware.nvidia.enabled = boolean;
    boot.kernelModules = listOfStrings;
    boot.initrd.kernelModules = listOfStrings;

    # Set by the machines of tests/nixos, read by the test drivers.
    virtualisation.memorySize = mkOption {
      type = types.ints.positive;
      default = 1024;
    };
    virtualisation.cores = mkOption {
      type = types.ints.positive;
      default = 1;
    };
  };
}
