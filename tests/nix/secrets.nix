# The options of sops-nix and agenix that the examples in the documentation set.
{ lib, ... }:
let
  inherit (lib) mkOption types;

  secrets =
    folder:
    mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = {
              path = mkOption {
                type = types.str;
                default = "${folder}/${name}";
              };
              file = mkOption { type = types.path; };
              restartUnits = mkOption {
                type = types.listOf types.str;
                default = [ ];
              };
            };
          }
        )
      );
    };
in
{
  options = {
    sops.secrets = secrets "/run/secrets";
    age.secrets = secrets "/run/agenix";
  };
}
