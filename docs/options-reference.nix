# The reference of every `services.daiic` option, in CommonMark, made from the modules.
{ pkgs }:
let
  inherit (pkgs) lib;

  evaluated = lib.evalModules {
    modules = [
      ../modules
      {
        # Only the options are read; what they would configure is NixOS's.
        _module.check = false;
        _module.args.pkgs = pkgs;
      }
    ];
  };
in
(pkgs.nixosOptionsDoc {
  options.services = { inherit (evaluated.options.services) daiic; };
  transformOptions =
    option:
    option
    // {
      declarations = map (
        declaration: lib.removePrefix "${toString ../.}/" (toString declaration)
      ) option.declarations;
    };
}).optionsCommonMark
