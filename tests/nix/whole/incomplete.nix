# What a copy of nixpkgs cannot give whose largest files, or whose documentation, were left behind: stand-ins for
# the programs that are Haskell packages, and machines without a manual. A complete nixpkgs is left as it is.
{ nixpkgs }:
rec {
  # Whether manuals and the reference of options can be made.
  documented = builtins.pathExists (nixpkgs + "/doc/manpage-urls.json");

  module.documentation.nixos.enable = documented;

  overlay =
    _final: prev:
    let
      unless-given =
        name: package:
        if prev.haskellPackages ? ShellCheck then
          package
        else
          prev.runCommand name {
            passthru.compiler = prev.hello;
            meta.mainProgram = name;
          } "exit 1";
    in
    {
      pandoc = unless-given "pandoc" prev.pandoc;
      shellcheck = unless-given "shellcheck" prev.shellcheck;
      shellcheck-minimal = unless-given "shellcheck" prev.shellcheck-minimal;
      nixfmt-rfc-style = unless-given "nixfmt" prev.nixfmt-rfc-style;
    };
}
